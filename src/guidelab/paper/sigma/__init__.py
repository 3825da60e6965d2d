"""Tables and figures of divergences along sigma."""
