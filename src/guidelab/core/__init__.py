"""Tensors in, tensors out: denoisers, guidance, samplers, schedules, averages, losses. No files, no globals."""
