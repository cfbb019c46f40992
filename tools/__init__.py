"""What only the developers of kneeal run; not part of the package."""
