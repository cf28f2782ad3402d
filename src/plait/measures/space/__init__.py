"""The geometry of embedding spaces, and probes of representations."""
