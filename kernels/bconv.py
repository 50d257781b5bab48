"""bconv: sconv of images and weights rounded to bfloat16, summed in float32."""

from ._spec import reference
from ._traits import Traits
from .bgemm import pack as pack_gemm
from .bgemm import panels, rounded
from .sconv import GEOMETRY, sconv
from .sconv import example as float_example


@reference(
    where=f"act<9,n<2147483648,c<2147483648,{GEOMETRY}",
    macs="b*oh*ow*n*kh*kw*c",
    plain=True,
    traits=Traits(sums="float", weights={"w": "bgemm"}, tile="convolution", layout="nhwc"),
    ahead={"bias": "oh ow"},
)
def bconv(
    x: "f32[b,ih,iw:ldx,c]",
    w: "bf16[ceil(n/16):ldw,ceil(kh*kw*c/2),16,2]",
    kh: "size",
    kw: "size",
    sh: "size",
    sw: "size",
    dh: "size",
    dw: "size",
    pt: "size",
    pl: "size",
    bias: "f32[n]?",
    act: "size",
    act_params: "f32[2]",
    residual: "f32[b*oh*ow:ldr,n]?",
    out: "f32[b,oh,ow:ldo,n]",
):
    """Errors are those of bgemm with k = kh kw c."""
    k = kh * kw * x.shape[3]
    sconv(rounded(x), panels(w, k), kh, kw, sh, sw, dh, dw, pt, pl, bias, act, act_params, residual, out)


def pack(w):
    """Weights [n,kh,kw,c], float32 or bfloat16, as bgemm's: bf16[ceil(n/16),ceil(kh*kw*c/2),16,2]."""
    return pack_gemm(w.reshape(len(w), -1))


def example(rng, b, ih, iw, c, n, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), pads=(1, 1, 1, 1)):
    """Random arguments of the given sizes; pads are top, left, bottom, right; needs ml_dtypes."""
    x, w, *rest = float_example(rng, b, ih, iw, c, n, kernel, stride, dilation, pads)
    return [x, pack_gemm(w.transpose(0, 2, 1).reshape(-1, w.shape[1])[:n]), *rest]
