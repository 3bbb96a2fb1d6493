"""Hosts, routes and trees: what is known of a site, and the plan of one run."""
