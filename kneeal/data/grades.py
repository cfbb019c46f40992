"""The Kellgren-Lawrence scale."""

#: Grades 0 (no osteoarthritis) to 4 (severe): Kellgren and Lawrence, Annals of the Rheumatic Diseases 16, 1957.
N_GRADES = 5
