"""Every method is data and one step, and stands in a roster."""
