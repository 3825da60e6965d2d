"""What jobs do: arithmetic against published numbers, evaluations of samplers, small plans by hand."""

from pathlib import Path

import pytest
import torch
import yaml
from inception_cases import bare_inception
from torch.utils.flop_counter import FlopCounterMode

from guidelab.core.schedules import edm_sigmas
from guidelab.costs import configs
from guidelab.costs.flops import count
from guidelab.costs.levels import evaluations
from guidelab.costs.work import work_of
from guidelab.errors import UserError
from guidelab.plan.plan import Plan
from guidelab.spec.load import load_spec

ROOT = Path(__file__).parents[2]
HEUN = {"name": "heun", "steps": 12, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_spec(ROOT / "params.yaml"))


def changed(tmp_path: Path, name: str, **entry) -> Plan:
    """A plan of one experiment more: `name`, with the given keys instead of fashion_ci's."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["experiments"][name] = {"extends": "fashion_ci", **entry}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return Plan(load_spec(path))


def close(given: float, wanted: float, share: float = 0.03) -> bool:
    return abs(given / wanted - 1) < share


# ---- arithmetic ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "channels", "gmac", "millions"),
    [("XS", 128, 45.5, 124.7), ("S", 192, 102.2, 280.2), ("XXL", 448, 552.1, 1523.2)],
)
def test_edm2_counts_what_was_published_less_what_is_saved_at_upsampling(size, channels, gmac, millions):
    found = count({"name": "edm2", "resolution_px": 64, "image_channels": 4, "classes": 1000, "size": size})
    assert close(found.parameters / 1e6, millions, 0.001)
    # a doubled image convolved 3 x 3 is four 2 x 2 convolutions of the small one: 4 instead of 9 products a pixel
    saved = sum(5 * (mult * channels) ** 2 * side**2 for mult, side in ((2, 64), (3, 32), (4, 16))) / 1e9
    assert close(found.forward / 2e9 + saved, gmac)
    assert found.forward / 2e9 < 0.96 * gmac


@pytest.mark.parametrize(
    ("config", "gmac"),
    [
        (
            {"name": "edm", "resolution_px": 32, "image_channels": 3, "classes": 0, "architecture": "ddpmpp", "precond": "edm",
             "channels": 128, "channel_mult": [2, 2, 2], "blocks": 4, "attention_px": [16]},
            21.19,
        ),
        ({"name": "dit", "resolution_px": 32, "image_channels": 4, "classes": 1000, "width": 1152, "depth": 28, "heads": 16}, 118.64),
        ({"name": "dit", "resolution_px": 64, "image_channels": 4, "classes": 1000, "width": 1152, "depth": 28, "heads": 16}, 524.60),
        (
            {"name": "adm", "resolution_px": 256, "image_channels": 3, "classes": 1000, "channels": 256,
             "channel_mult": [1, 1, 2, 2, 4, 4], "blocks": 2, "attention_px": [32, 16, 8], "head_channels": 64},
            1120.0,
        ),
    ],
    ids=["EDM CIFAR-10", "DiT-XL/2 256", "DiT-XL/2 512", "ADM 256"],
)  # fmt: skip
def test_published_arithmetic(config, gmac):
    assert close(count(config).forward / 2e9, gmac)


def test_discriminators_on_a_frozen_extractor():
    images = {"resolution_px": 32, "image_channels": 3}
    found = count({"name": "adm_discriminator", **images, "extractor": {**images, "classes": 1000}})
    assert close(found.frozen, 12.71e9)
    assert close(found.forward - found.frozen, 0.268e9)
    assert close(found.gradient, 28.41e9)  # parameters frozen: forward, and back to the image alone
    assert found.training == pytest.approx(found.frozen + 3 * (found.forward - found.frozen))
    assert found.trained == 2_883_841


def test_extractors_are_counted_as_their_nets_are():
    from guidelab.features.efficientnet_lite0 import LiteNet
    from guidelab.features.vit import VisionTransformer

    with torch.device("meta"):
        nets = {
            "inception": (bare_inception(), 299),
            "dinov2": (VisionTransformer(width=1024, depth=24, heads=16, hidden=4096, patch_px=14, grid=37, registers=0), 224),
            "efficientnet_lite0": (LiteNet(), 224),
        }  # fmt: skip
    for name, (net, side) in nets.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            dtype = torch.uint8 if name == "inception" else torch.float32
            net.eval()(torch.zeros(1, 3, side, side, dtype=dtype, device="meta"))
        assert close(counter.get_total_flops(), configs.known_extractor(name)[0], 0.001), name
    with pytest.raises(UserError, match="'inceptoin' is not counted"):
        configs.known_extractor("inceptoin")


def test_the_autoencoders_constants_are_what_its_layers_do():
    from guidelab.costs.samples import DECODE_512
    from guidelab.costs.training import ENCODE_512
    from guidelab.metrics.torchvision_repair import import_torchvision

    import_torchvision()
    diffusers = pytest.importorskip("diffusers")
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    with torch.device("meta"):
        sizes = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4}
        net = diffusers.AutoencoderKL(in_channels=3, out_channels=3, **kinds, **sizes).eval()
    for side, share in ((512, 0.005), (256, 0.03)):  # its attention does not go with the area
        for call, shape, flop in (
            (net.encode, (3, side), ENCODE_512),
            (net.decode, (4, side // 8), DECODE_512),
        ):
            image = torch.zeros(1, shape[0], shape[1], shape[1], device="meta")
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                call(image)
            assert close(counter.get_total_flops(), flop * (side / 512) ** 2, share)


def test_memory_of_images_grows_with_the_image_and_weights_do_not_count():
    sides = [
        count({"name": "small_classifier", "resolution_px": px, "image_channels": 1, "classes": 10})
        for px in (16, 32)
    ]
    for name in ("live_bytes", "kept_bytes"):
        assert 3 < getattr(sides[1], name) / getattr(sides[0], name) < 4.1
    assert sides[0].held_bytes == 0
    edm2 = count({"name": "edm2", "resolution_px": 16, "image_channels": 1, "classes": 10, "channels": 16})
    assert edm2.held_bytes > 3 * edm2.parameters  # normalised weights, kept between evaluations


def test_a_net_that_does_not_fit_is_a_user_error():
    with pytest.raises(UserError, match=r"net edm2: .*blokcs"):
        count(
            {
                "name": "edm2",
                "resolution_px": 16,
                "image_channels": 1,
                "classes": 0,
                "channels": 16,
                "blokcs": 1,
            }
        )


# ---- evaluations --------------------------------------------------------------------------------------------


def test_heun_evaluates_twice_a_step_but_in_the_last():
    assert evaluations(HEUN) == 23
    assert evaluations(HEUN, first=True) == 12


def test_half_the_steps_are_half_the_evaluations_of_the_guide():
    levels = edm_sigmas(12, 0.002, 80.0, 7.0).tolist()
    upper = evaluations(
        HEUN, low=levels[6]
    )  # steps 0 to 5: a step that starts at the lower end is not guided
    lower = evaluations(HEUN, high=levels[6])  # steps 6 to 11, the last of which evaluates once
    assert (upper, lower) == (12, 11)
    assert evaluations(HEUN, levels[8], levels[3]) == 10
    assert evaluations(HEUN, 90.0, 100.0) == 0


def test_a_chain_evaluates_once_a_step():
    chain = {"name": "ddpm", "steps": 250, "schedule": "linear"}
    assert evaluations(chain) == evaluations(chain, first=True) == 250
    assert 0 < evaluations(chain, 0.34, 1.02) < 125
    with pytest.raises(UserError, match="sampler ddim with 300 steps"):
        evaluations({"name": "ddim", "steps": 300, "schedule": "linear"})


def test_a_small_plan_by_hand(plan):
    e = plan.spec.experiments["fashion_ci"]
    n, calls = 3 * 32, 2 * 4 - 1  # three blocks of 32 images, four steps
    main = count(configs.model_config(e, "main"))
    blind = count(configs.model_config(e, "blind"))
    guide = count(configs.disc_config(e, "guide"))

    none = work_of(e, plan.job("sample", "fashion_ci", "none", "w1.00", "seed0"))
    assert (none.images, none.evaluations) == (n, {"main": n * calls})
    assert none.flop == n * calls * main.forward
    assert none.disk_bytes == n * (16 * 16 + 8)  # and a label each

    cfg = work_of(e, plan.job("sample", "fashion_ci", "cfg", "w1.50", "seed0"))
    assert cfg.evaluations == {"main": n * calls, "reference": n * calls}
    assert cfg.flop == n * calls * (main.forward + blind.forward)

    # steps start at 80, 9.7, 0.47, 0.002: only the third lies in (0.02, 5]
    dg = work_of(e, plan.job("sample", "fashion_ci", "dg", "w1.00", "seed0"))
    assert dg.evaluations == {"main": n * calls, "gradient": n * 2}
    assert dg.flop == n * (calls * main.forward + 2 * guide.gradient)

    train = work_of(e, plan.job("train", "fashion_ci", "s", "seed0"))
    assert train.images == 512
    assert train.flop == 512 * 3 * main.forward
    assert train.disk_bytes == 16 * 2 * main.parameters * 4  # 16 snapshots of two averages

    held = round((512 + 128) * 4 * (2 * 0.1 + 0.1))  # validation twice, test once, four noise levels each
    disc = work_of(e, plan.job("discriminate", "fashion_ci", "guide"))
    assert disc.evaluations == {"training": 20 * 16, "judging": held}
    assert disc.flop == pytest.approx(20 * 16 * 3 * guide.forward + held * guide.forward)

    features = work_of(e, plan.job("extract", "fashion_ci", "lite0", "cfg/w1.50/seed0"))
    assert features.images == n
    assert features.flop == pytest.approx(n * 2 * 0.3852e9 * (32 / 224) ** 2)


def test_densities_and_encoded_samples_by_hand(plan):
    e = plan.spec.experiments["toy2d"]
    n = 2 * 1024 * 5 * 3  # both sides of 1,024 points, five trainings, three blocks
    found = work_of(e, plan.job("density", "toy2d", "cfg", "w2.00", "seeds0-4"))
    assert (found.images, found.evaluations) == (
        n,
        {"with Jacobian": n * 2 * 31 * 2},
    )  # 31 steps between 32 levels, two nets
    trained = plan.spec.experiments["imagenet256_smoke_trained"]
    first, last = trained.discriminators["guide_dit"].drawn.seeds
    encoded = work_of(trained, plan.job("encode", "imagenet256_smoke_trained", "generated/guide_dit"))
    assert encoded.evaluations == {"encoder": len(range(first, last + 1))}


def test_published_counts_of_evaluations():
    edm2 = {"name": "heun", "steps": 32, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}
    assert evaluations(edm2) == 63
    assert evaluations(edm2, 0.19, 1.61) == 12  # arXiv:2404.07724: 6 of 32 steps
    edm = {**edm2, "steps": 18}
    assert (evaluations(edm), evaluations(edm, low=0.04, first=True)) == (35, 15)  # the paper's guided steps


def test_nets_on_pixels_and_on_latents_of_one_experiment(plan):
    e = plan.spec.experiments["imagenet256"]
    n = 3 * 50_000

    def found(variant: str, w: str = "w1.00"):
        return work_of(e, plan.job("sample", "imagenet256", variant, w, "seed0"))

    adm, cg, dit, real = found("adm"), found("cg"), found("dit"), found("validation")
    assert adm.evaluations == {"main": 250 * n}  # pixels: nothing to decode
    assert close(adm.flop, n * 250 * 2 * 1120e9)
    assert dit.evaluations == {"main": 250 * n, "decoder": n}
    assert close(
        dit.flop, n * (250 * 2 * 118.64e9 + 2 * 1260.9e9 / 4)
    )  # the decoder's published work at 512 px
    assert (adm.float32_flop, real.flop, real.images) == (0.0, 0.0, n // 3)  # real images have one block
    assert cg.float32_flop == cg.flop - adm.flop  # the classifier's gradients alone
    assert cg.evaluations["gradient"] == 250 * n
    assert adm.disk_bytes == n * (3 * 256 * 256 + 8)


def test_discriminator_guidance_costs_what_was_measured_for_it(plan):
    e = plan.spec.experiments["cifar10"]
    none, dg = (
        work_of(e, plan.job("sample", "cifar10", *at, "seed0"))
        for at in (("none_u", "w1.00"), ("dg_u", "w2.00"))
    )
    assert dg.evaluations["gradient"] * 35 == none.evaluations["main"] * 15
    assert close(dg.flop / none.flop, 1 + 15 * 28.41 / (35 * 42.38))  # + 29 %


def test_terms_at_their_neutral_weight_and_first_stages_cost_what_they_do(tmp_path):
    guide = {"method": "discriminator", "disc": "guide", "sigma_lo": 0.02, "sigma_hi": 5.0}
    plan = changed(
        tmp_path,
        "terms",
        variants={
            "neutral": {"main": "main", "guide": {"method": "reference", "ref": "blind"}, "weights": [1.0]},
            "first": {"main": "main", "guide": {**guide, "stages": "first"}, "weights": [2.0]},
            "both": {"main": "main", "guide": guide, "weights": [2.0]},
            "truncation": {"main": "main", "guide": {"method": "truncation"}, "weights": [1.4]},
        },
    )
    e = plan.spec.experiments["terms"]

    def found(variant: str, w: str) -> dict[str, int]:
        return work_of(e, plan.job("sample", "terms", variant, w, "seed0")).evaluations

    assert "reference" not in found("neutral", "w1.00")
    assert found("first", "w2.00")["gradient"] * 2 == found("both", "w2.00")["gradient"]
    assert list(found("truncation", "w1.40")) == ["main"]


# ---- divergences --------------------------------------------------------------------------------------------


def test_a_null_grader_costs_what_a_grader_of_as_many_examples_does(plan):
    e = plan.spec.experiments["toy2d_ci"]
    null = work_of(e, plan.job("null", "toy2d_ci"))
    how = e.discriminators["grade"].train
    assert null.evaluations["training"] == how.iterations * how.batch
    grade = work_of(e, plan.job("grade", "toy2d_ci", "grade", "none", "w1.00", "seeds0-1"))
    one = grade.evaluations["training"] // len(
        plan.job("grade", "toy2d_ci", "grade", "none", "w1.00", "seeds0-1").spec["train_seeds"]
    )
    assert null.evaluations["training"] == one


def test_divergences_of_images_by_hand(plan):
    """As `jobs/diverge.py` evaluates images: both signs of the noise, two ends, a calibration, the gains."""
    e = plan.spec.experiments["fashion_ci"]
    job = plan.job("diverge", "fashion_ci", "dg_autog", "w1.50", "seed0")
    fold = e.folds[e.divergences.real].n
    fitted, generated = 32, 64  # one block of 32 is fitted on, two are reported
    real = fold - fitted
    draws, more = e.divergences.draws, real // generated
    found = work_of(e, job).evaluations
    along = 2 * draws * (real + more * generated)
    assert found["grader"] == 2 * 2 * (real + generated) + 2 * fitted * 2 * 2 * draws + along
    assert found["grader gradient"] == along
    assert found["main"] == 2 * (2 * draws * real)  # alone, and inside the sampler
    assert found["reference"] == 2 * draws * real
    assert 0 < found["gradient"] <= 2 * draws * real  # in its interval of noise levels
    null = work_of(e, plan.job("diverge_null", "fashion_ci")).evaluations
    assert null["main"] == 2 * draws * (fold - 2 * fitted - generated)
    assert "reference" not in null


def test_repeats_of_the_2d_example_draw_whole_samples(plan):
    e = plan.spec.experiments["toy2d_ci"]
    job = plan.job("diverge", "toy2d_ci", "none", "w1.00", "seeds0-1")
    again = e.divergences.coverage
    calls = 2 * e.sampler.steps - 1
    drawn = again.draws * again.n_samples * calls * len(job.spec["train_seeds"])
    assert work_of(e, job).evaluations["main"] > drawn
    assert work_of(e, job).flop > 0
    assert "main" not in work_of(e, plan.job("diverge_null", "toy2d_ci")).evaluations  # denoised exactly
