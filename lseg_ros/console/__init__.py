"""The browser console: a page that shows what a node sees, and changes its labels."""
