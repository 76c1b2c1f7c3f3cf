"""What host libraries ask of their plug-ins, by their own suites, over `kvstore.contrib`."""
