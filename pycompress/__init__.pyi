"""The names that ``pycompress`` hands out when they are asked for, where type checkers and editors can see them."""

from . import kernels as kernels
from . import layers as layers
from . import native as native
from . import numba as numba
from . import ort as ort
from . import torch as torch
from . import train as train
from . import zoo as zoo
from .advice import advise as advise
from .compiler import compile as compile
from .compress.cast import cast as cast
from .compress.chain import compress as compress
from .compress.factorize import factorize as factorize
from .compress.prune import prune as prune
from .compress.quantize import quantize as quantize
from .compress.recertify import recertify as recertify
from .compress.sensitivity import sensitivity as sensitivity
from .compress.tune import Tuned as Tuned
from .compress.tune import tune as tune
from .compress.verdict import CalibrationWarning as CalibrationWarning
from .compress.verdict import Verdict as Verdict
from .compress.verdict import VerdictWarning as VerdictWarning
from .compress.verdict import verdict as verdict
from .cpu import cpu_info as cpu_info
from .cpu import get_num_threads as get_num_threads
from .cpu import set_num_threads as set_num_threads
from .errors import ModelError as ModelError
from .errors import PlanError as PlanError
from .errors import PycompressError as PycompressError
from .lower import Preprocess as Preprocess
from .operators import register_operator as register_operator
from .plan import Plan as Plan
from .predictor import Predictor as Predictor
from .session import InferenceSession as InferenceSession
from .session import SessionOptions as SessionOptions
from .sparse import spmm as spmm

__version__: str
__all__: list[str]

def get_include() -> str: ...
def get_library_dir() -> str: ...
