"""Registered nets."""

from guidelab.registry.table import Entry, Table

NETS = Table("net", "net", {
    "toy": Entry("guidelab.nets.toy:ToyDenoiser"),
    "toy_discriminator": Entry("guidelab.nets.toy_discriminator:ToyDiscriminator"),
    "edm2": Entry("guidelab.nets.edm2:Edm2"),
    "edm": Entry("guidelab.nets.edm:Edm"),
    "adm": Entry("guidelab.nets.adm:Adm"),
    "dit": Entry("guidelab.nets.dit:Dit"),
    "small_classifier": Entry("guidelab.nets.small_discriminator:SmallClassifier"),
    "small_discriminator": Entry("guidelab.nets.small_discriminator:SmallDiscriminator"),
    "adm_classifier": Entry("guidelab.nets.image_discriminator:AdmClassifier"),
    "adm_discriminator": Entry("guidelab.nets.image_discriminator:AdmDiscriminator"),
})  # fmt: skip
