"""The names that options accept, each list as a type and as a tuple.

This file imports no library, so that the command line can list them at once.
"""

from typing import Literal, get_args

SCORING_COMMANDS = ("validate", "test", "predict")
"""Lightning's commands that score with a checkpoint."""

SystemName = Literal["stpm", "rstpm", "destseg", "pfadseg", "tedseg"]
SYSTEM_NAMES: tuple[SystemName, ...] = get_args(SystemName)
DEFAULT_SYSTEM: SystemName = "tedseg"
"""The system of `padseg train` and `padseg preview` where none is named."""

LayoutName = Literal["mvtec", "mvtec_loco", "mvtec_ad_2", "btad", "visa", "kolektorsdd", "folder"]
LAYOUT_NAMES: tuple[LayoutName, ...] = get_args(LayoutName)

# Data sets to download.
DataSetName = Literal["mvtec_ad", "mvtec_ad_2", "visa", "btad", "dtd"]
DATA_SET_NAMES: tuple[DataSetName, ...] = get_args(DataSetName)

ExportFormat = Literal["onnx", "openvino", "torch", "safetensors"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

# Lightning's names, without those that convert the weights: 16 bits lose small steps of SGD and the
# statistics of BatchNorm, and 64 bits have no benefit.
PrecisionName = Literal["32-true", "bf16-mixed", "16-mixed"]
PRECISION_NAMES: tuple[PrecisionName, ...] = get_args(PrecisionName)

# DeSTSeg's groups of augmentations of normal images.
AugmentationGroup = Literal["none", "slight", "full"]
AugmentationName = Literal["auto", AugmentationGroup]
AUGMENTATIONS: tuple[AugmentationName, ...] = get_args(AugmentationName)

# At which size score maps and masks are compared: the network's input, or each image's own.
EvaluationSize = Literal["model", "native"]
EVALUATION_SIZES: tuple[EvaluationSize, ...] = get_args(EvaluationSize)

# Parts of the networks.
Fusion = Literal["add", "aff"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)
SecondConv = Literal["conv", "pcar"]
SECOND_CONVS: tuple[SecondConv, ...] = get_args(SecondConv)
Gates = Literal["neutral", "random"]
GATES: tuple[Gates, ...] = get_args(Gates)
Recalibration = Literal["channel", "pixel"]
RECALIBRATIONS: tuple[Recalibration, ...] = get_args(Recalibration)
Upsample = Literal["deconv", "bilinear"]
UPSAMPLES: tuple[Upsample, ...] = get_args(Upsample)
Context = Literal["aspp", "rcm"]
CONTEXTS: tuple[Context, ...] = get_args(Context)

StudentInput = Literal["corrupted", "clean"]
STUDENT_INPUTS: tuple[StudentInput, ...] = get_args(StudentInput)
LossReduction = Literal["batch_sum", "mean"]
LOSS_REDUCTIONS: tuple[LossReduction, ...] = get_args(LossReduction)
