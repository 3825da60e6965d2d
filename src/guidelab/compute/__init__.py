"""Where and how nets are computed: devices, precision, compilation, processes."""
