"""Networks: `nn.Module`s, neither trained nor sampled here."""
