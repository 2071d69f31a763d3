"""`kubectl anchorhold doctor`: a look at the installation that changes nothing."""
