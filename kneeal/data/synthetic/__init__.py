"""Synthetic knee radiographs: good enough to develop on, and no patient's.

Shapes follow the published statistics that `shape` cites; `disease` draws severity, grade and signs, `outlines` the
bones, `render` (on `canvas`) the radiograph, `cohort` the patients and sites.
"""
