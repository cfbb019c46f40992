"""Queries and answers as files: plain CSV, spreadsheets and Label Studio's JSON."""
