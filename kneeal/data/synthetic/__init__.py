"""Synthetic knee radiographs, good enough to develop on and of no patient.

`anatomy` draws severity, grade and signs, `outlines` the bones, `render` the radiograph, `cohort` patients and sites.
"""
