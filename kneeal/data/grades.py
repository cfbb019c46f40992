"""The Kellgren-Lawrence scale."""

#: Grades 0 (no osteoarthritis) to 4 (severe): Kellgren and Lawrence, Annals of the Rheumatic Diseases 16, 1957.
N_GRADES = 5
#: Grade by the texts that tables write for it.
GRADE_TEXTS = {text: grade for grade in range(N_GRADES) for text in (str(grade), f"{grade}.0")}
