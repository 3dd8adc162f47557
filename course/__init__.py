"""The classroom: what students get, and what grades their hand-ins without trusting them."""
