"""torch-fidelity's Inception without its weights, which no package ships."""

import pytest

from guidelab.metrics.torchvision_repair import import_torchvision


def bare_inception():
    """The network as it is constructed, on the device of the context; nothing is fetched or loaded."""
    import_torchvision()
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(module, "load_state_dict_from_url", lambda *given, **options: {})
        return module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
