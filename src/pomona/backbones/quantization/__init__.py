"""Networks in whole numbers of 8 bits: ranges of activations, rounded weights, and the graph."""
