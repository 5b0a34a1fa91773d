"""The evaluation of a classifier: its figures, and the page that shows them."""
