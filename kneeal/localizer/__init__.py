"""Finding the knees of a bilateral radiograph: from landmark files, or with a small network that ships here."""

#: File with the weights that ship with the package.
WEIGHTS = "localizer.npz"
