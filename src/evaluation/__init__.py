"""How good a fit is: scores of what it has not seen, and circuits compared by them."""
