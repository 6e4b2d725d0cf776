"""The systems that come with padseg, as tables of parts."""

from functools import partial

from padseg.models.distance_network import DistanceNetwork
from padseg.models.memory_network import Source, memory_network
from padseg.models.optimizers import adamw, warm_up_and_cosine
from padseg.models.registry import System, register, two_teachers
from padseg.models.residual import BlockOptions
from padseg.models.scores import distance_map, distance_weighted_map, mean_distance_map
from padseg.models.segmentation import SegmentationNetwork
from padseg.models.students import DenoisingStudent, PlainStudent

register(
    System(
        name="stpm",
        title="STPM",
        paper="Wang et al., Student-Teacher Feature Pyramid Matching for Anomaly Detection, "
        "BMVC 2021, arXiv 2103.04257",
        teachers=("resnet18.tv_in1k",),
        student=PlainStudent,
        loss_scale=2.0,  # the squared distance in the code is twice the cosine distance
        loss_reduction="mean",
    )
)
register(
    System(
        name="rstpm",
        title="RSTPM",
        paper="Yamada & Hotta, Reconstruction Student with Attention for Student-Teacher "
        "Pyramid Matching, 2021, arXiv 2111.15376",
        teachers=("resnet18.tv_in1k", "resnet50.tv_in1k"),
        student=PlainStudent,
        network=two_teachers,
        distance_map=partial(distance_map, at_input=True),
    )
)
register(
    System(
        name="destseg",
        title="DeSTSeg",
        paper="Zhang et al., DeSTSeg: Segmentation Guided Denoising Student-Teacher for "
        "Anomaly Detection, CVPR 2023, arXiv 2211.11317",
        teachers=("resnet18.tv_in1k",),
        student=DenoisingStudent,
        segmentation=SegmentationNetwork,
        synthetic=True,
        top_k=100,
    )
)
register(
    System(
        name="pfadseg",
        title="PFADSeg",
        paper="Song et al., Teacher Encoder-Student Decoder Denoising Guided Segmentation Network for "
        "Anomaly Detection (PFADSeg), 2025, arXiv 2501.12104",
        teachers=("resnet18.tv_in1k",),
        student=DenoisingStudent,
        block=BlockOptions(fusion="aff", second_conv="pcar"),
        segmentation=SegmentationNetwork,
        context="rcm",
        synthetic=True,
        top_k=100,
        lr=0.5,
    )
)
register(
    System(
        name="tedseg",
        title="TEDSeg",
        paper="padseg's own: teacher-encoded distances, segmented; see its card",
        teachers=("tf_efficientnet_lite0.in1k",),
        takes_second=True,
        memory=True,
        network=partial(
            memory_network,
            sources=(Source(levels=(0, 1)), Source(levels=(1, 2), zoom=2.0)),
            transformer=Source(zoom=1.5, pool=1),
        ),
        synthetic=True,
        lr=0.0,
        distance_map=mean_distance_map,
        top_share=100 / 256**2,
        segmentation=partial(DistanceNetwork, products=2, members=2),
        segmentation_width=32,
        gamma=0.0,
        l1_weight=0.0,
        lr_res=2e-3,
        lr_head=2e-3,
        weight_decay=0.01,
        segmentation_map=distance_weighted_map,
        optimizer=adamw,
        schedule=warm_up_and_cosine,
    )
)
