"""A radiologist in the loop: the store of readings, the rules, the web page and the rounds behind it."""
