"""Reports on any set of run folders: tables, figures, comparisons and one self-contained page. Needs no GPU."""
