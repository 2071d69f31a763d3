"""`kubectl anchorhold …`: what people do at their own desks. Nothing here runs in a cluster."""
