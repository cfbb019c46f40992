"""From outlines to a radiograph: attenuation along the beam, the detector's response, blur, grain and noise."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kneeal.data.patches import MM_PER_PX
from kneeal.data.synthetic.anatomy import LATERAL, MEDIAL, Array, KneeAnatomy
from kneeal.data.synthetic.outlines import KneeOutlines, build_outlines, spline

Image = NDArray[np.float32]

RADIOGRAPH_MM = 140.0
RADIOGRAPH_PX = round(RADIOGRAPH_MM / MM_PER_PX)
_SHAPE = (RADIOGRAPH_PX, RADIOGRAPH_PX)
_SHIFT = 4  # fractional bits of the coordinates that cv2 is given
CENTER_PX = (RADIOGRAPH_PX - 1) / 2
# Attenuation of the soft tissue in the center of the leg; bone adds about a third of it.
_SOFT = np.float32(1.35)


@dataclass(frozen=True)
class Exposure:
    """How the radiograph was taken and processed; grays are 0 to 255, attenuations about 0 to 2."""

    level: float  #: Attenuation that comes out center gray; lower burns the bone white.
    contrast: float  #: Slope of the response at center gray.
    black: float  #: Darkest gray.
    white: float  #: Brightest gray.
    sharpen: float  #: Strength of the edge enhancement of digital systems, 0 to about 2.
    blur_mm: float  #: Standard deviation of the unsharpness.
    noise: float  #: Standard deviation of quantum noise at center attenuation.
    grain: float  #: Strength of the trabecular texture.
    soft_mm: float  #: Half width of the soft tissue at the joint.
    gradient: tuple[float, float]  #: Slopes of the attenuation across and along the radiograph.
    #: Distance in mm from the center and angle in degrees of each side edge, lateral and medial; a distance beyond 70
    #: leaves no trace.
    collimation: tuple[tuple[float, float], tuple[float, float]]
    inverted: bool  #: Bone dark, as in the odd picture saved with the other photometric interpretation.


def _add_bone(bones: Image, outline: Array, density: float, core: float, cortex: float, fade_mm: float = 0.0) -> None:
    """Add one bone to the attenuation, in place: round in section, with a dense shell seen edge-on.

    Args:
        bones: Attenuation so far, [H, W].
        outline: Of the bone, mm.
        density: Attenuation in the center of the bone.
        core: Attenuation near the rim as a share of the middle's; between them it follows a parabola.
        cortex: Share that the shell adds at the rim.
        fade_mm: Depth over which the bone's upper end gains its thickness, for the thin tibial spines.
    """
    low, high = outline.min(0) / MM_PER_PX + CENTER_PX, outline.max(0) / MM_PER_PX + CENTER_PX
    x0, y0 = max(int(low[0]) - 1, 0), max(int(low[1]) - 1, 0)
    x1, y1 = min(int(high[0]) + 3, RADIOGRAPH_PX), min(int(high[1]) + 3, RADIOGRAPH_PX)
    mask, shell = blank(), blank()
    fill(mask, outline)
    stroke(shell, outline, 255, 3, closed=True)
    mask, shell = mask[y0:y1, x0:x1], shell[y0:y1, x0:x1]
    inside, columns = mask > 0, np.arange(x0, x1, dtype=np.float32)[None, :]
    left = x0 + inside.argmax(1).astype(np.float32)[:, None] - 1
    right = x1 - inside[:, ::-1].argmax(1).astype(np.float32)[:, None]
    # How a bone goes on beyond the radiograph's edge is not known; its section is taken to reach 8 mm further.
    left[left < 1] -= 22
    right[right > RADIOGRAPH_PX - 2] += 22
    # Neighboring rows share their walls, or the section would jump where only a spine or one condyle is left.
    rows = np.ones((2 * round(12 / MM_PER_PX) + 1, 1), np.uint8)
    left, right = cv2.erode(left, rows), cv2.dilate(right, rows)
    section = (columns - left) * (right - columns) * (4 * (1 - core) * density / np.square(right - left))
    section += core * density
    section += shell * np.float32(cortex * density / 255)
    if fade_mm > 0:
        depth = (np.arange(y0, y1, dtype=np.float32) - low[1]) * MM_PER_PX
        section *= np.clip(0.25 + 0.75 * depth / fade_mm, 0, 1).astype(np.float32)[:, None]
    bones[y0:y1, x0:x1] += section * mask * np.float32(1 / 255)


def _band(curve: Array, thickness_mm: Array) -> Array:
    """Closed outline of the band that hangs under a curve (over it, for negative thickness)."""
    return np.vstack([curve, (curve + np.stack([np.zeros_like(thickness_mm), thickness_mm], 1))[::-1]])


def _details(outlines: KneeOutlines, sclerosis: tuple[float, float], rng: np.random.Generator) -> Image:
    """Dense bone near the joint, and the thin bright lines of the projection.

    Subchondral plates on either side of the joint, sclerosis under the plateau, inner walls of the condyles,
    physeal scars, the rim of the patella. Attenuation, about 0 to 0.6.
    """
    fine, width = blank(), outlines.half_width_mm
    roof = outlines.condyles[len(outlines.condyles) // 2]
    foot = outlines.plateau[len(outlines.plateau) // 2]
    wiggle = rng.normal(0, 0.03, (2, 8)) * width
    lateral_wall = ((-0.36, 0.14), (-0.37, -0.06), (-0.30, -0.26), (-0.33, -0.42))
    medial_wall = ((0.36, 0.16), (0.41, -0.04), (0.37, -0.24), (0.40, -0.42))
    scar = ((-0.98, -0.38), (-0.6, -0.33), (-0.15, -0.38), (0.3, -0.33), (0.7, -0.40), (1.0, -0.46))
    tibial_scar = ((-0.2, 0.63), (0.15, 0.66), (0.5, 0.60), (0.78, 0.53))
    faint = rng.uniform(0.2, 1.0, 5)
    for line, start, wiggled, gray in (
        (lateral_wall, roof, (1, 0) * wiggle[0, :4, None], 55 * faint[0]),
        (medial_wall, roof, (1, 0) * wiggle[0, 4:, None], 80 * faint[1]),
        (scar, roof, (0, 1) * wiggle[1, :6, None], 48 * faint[2]),
        (tibial_scar, foot, (0, 1) * wiggle[1, 4:, None], 48 * faint[3]),
    ):
        stroke(fine, spline(np.array(line) * width + start + wiggled, closed=False), int(gray), 3)
    stroke(fine, outlines.patella, int(10 + 30 * faint[4]), 2, closed=True)

    t = (outlines.plateau[:, 0] - outlines.plateau[:, 0].mean()) / width
    load = np.exp(-(((np.abs(t) - 0.48) / 0.24) ** 2))
    u = (outlines.condyles[:, 0] - outlines.condyles[:, 0].mean()) / width
    # The rim of the plateau that the beam does not meet edge-on: a softer line below the first.
    rim = outlines.plateau + (0.0, 2.2 + wiggle[0, 0])
    for part in (t < -0.3, t > 0.3):
        stroke(fine, rim[part], 55, 2)
    fill(fine, _band(outlines.condyles, -0.3 - 0.5 * np.exp(-(((np.abs(u) - 0.5) / 0.3) ** 2))), 70)
    fill(fine, _band(outlines.plateau, 0.25 + 1.5 * load), 215)
    dense = load * np.where(t < 0, sclerosis[LATERAL], sclerosis[MEDIAL])
    deep = blank()
    fill(deep, _band(outlines.plateau, 1.0 + 1.5 * load + 5.5 * np.minimum(dense, 1.2)))
    return np.asarray(0.36 * blur_gray(fine, 0.42, 0.42) + 0.20 * blur_gray(deep, 1.2, 1.2), dtype=np.float32)


def draw_knee(anatomy: KneeAnatomy, exposure: Exposure, side: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the radiograph of one knee region.

    Args:
        anatomy: The knee.
        exposure: How the radiograph was taken.
        side: `"R"` or `"L"`; a left knee is seen mirrored, as on a radiograph (its fibula on the right).
        rng: Source of texture and noise.

    Returns:
        Radiograph [382, 382] of 140 mm at `MM_PER_PX`, 0 (dark) to 255.
    """
    outlines = build_outlines(anatomy)
    bone = np.zeros(_SHAPE, np.float32)
    _add_bone(bone, outlines.femur, 0.44, 0.34, 0.11)
    _add_bone(bone, outlines.tibia, 0.40, 0.38, 0.13, fade_mm=16)
    _add_bone(bone, outlines.fibula, 0.08, 0.4, 0.5)
    _add_bone(bone, outlines.patella, 0.05, 0.4, 0.0)
    present = np.minimum(4 * bone, 1)
    patchy = field(rng, 12)
    # The soft tissue: greatest in the center of the leg, 0 beside it.
    mm = ((np.arange(RADIOGRAPH_PX) - CENTER_PX) * MM_PER_PX).astype(np.float32)
    bulge = rng.normal(0, 2, 2)
    half = exposure.soft_mm + np.interp(mm, (-70, -25, 5, 30, 70), (9 + bulge[0], 1, -1, 0, 3 + bulge[1]))
    center = float(outlines.plateau[:, 0].mean()) - 2.0
    t = (mm[None, :] - np.float32(center)) / half[:, None].astype(np.float32)
    attenuation = np.asarray(_SOFT * np.sqrt(np.maximum(1 - t * t, 0)), dtype=np.float32)
    leg = attenuation > 0
    attenuation += bone
    attenuation *= 1 + 0.025 * patchy
    texture = noise(rng, 0.16, 0.8) * (1 + 0.2 * patchy[::-1]) + 0.6 * field(rng, 128)
    attenuation += present * (_details(outlines, anatomy.sclerosis, rng) + np.float32(exposure.grain) * texture)
    ramp = np.linspace(-0.5, 0.5, RADIOGRAPH_PX, dtype=np.float32)
    slope = np.float32(exposure.gradient[0]) * ramp[None, :] + np.float32(exposure.gradient[1]) * ramp[:, None]
    attenuation += slope * leg
    attenuation = blur(attenuation, exposure.blur_mm)
    # Fewer quanta arrive behind more bone, so the noise grows with the attenuation.
    attenuation += np.float32(exposure.noise) * noise(rng, 0.2, 0.2) * (0.3 + 0.4 * attenuation)
    if exposure.sharpen > 0:
        # Unsharp masking with a kernel of 3 mm, whose blur is made at a quarter of the size.
        small = np.asarray(cv2.resize(attenuation, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), np.float32)
        base = cv2.resize(blur(small, 0.75), _SHAPE, interpolation=cv2.INTER_LINEAR)
        attenuation += np.float32(exposure.sharpen) * (attenuation - base)
    radiograph = 1 / (1 + np.exp(np.float32(exposure.contrast) * (np.float32(exposure.level) - attenuation)))
    radiograph *= np.float32(exposure.white - exposure.black)
    radiograph += np.float32(exposure.black)
    collimate(radiograph, exposure.collimation, 0.3 * exposure.black)
    if exposure.inverted:
        radiograph = np.float32(exposure.black + exposure.white) - radiograph
    picture = np.clip(radiograph + 0.5, 0, 255).astype(np.uint8)
    return picture if side == "R" else np.ascontiguousarray(picture[:, ::-1])


def pixels(points: Array) -> NDArray[np.int32]:
    """Radiograph coordinates with fractional bits, of points in mm from the center of the radiograph."""
    return np.round((points / MM_PER_PX + CENTER_PX) * (1 << _SHIFT)).astype(np.int32)


def blank() -> NDArray[np.uint8]:
    """An empty canvas, [382, 382]."""
    return np.zeros(_SHAPE, np.uint8)


def fill(canvas: NDArray[np.uint8], outline: Array, gray: int = 255) -> None:
    """Fill a closed outline [n, 2] in mm with a gray, smooth at its edge."""
    cv2.fillPoly(canvas, [pixels(outline)], gray, cv2.LINE_AA, _SHIFT)


def stroke(canvas: NDArray[np.uint8], line: Array, gray: int, thickness: int, *, closed: bool = False) -> None:
    """Draw a line [n, 2] in mm, `thickness` px wide; what it covers is replaced, not added to."""
    cv2.polylines(canvas, [pixels(line)], closed, gray, thickness, cv2.LINE_AA, _SHIFT)


def blur(image: Image, sigma_mm: float) -> Image:
    """Gaussian blur of this standard deviation."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_mm / MM_PER_PX), dtype=np.float32)


def blur_gray(canvas: NDArray[np.uint8], across_mm: float, along_mm: float) -> Image:
    """Blur a canvas of 8 bit, which is several times quicker than one of floats; 0 to 1."""
    blurred = cv2.GaussianBlur(canvas, (0, 0), across_mm / MM_PER_PX, sigmaY=along_mm / MM_PER_PX)
    return np.asarray(blurred * np.float32(1 / 255), dtype=np.float32)


def field(rng: np.random.Generator, cells: int) -> Image:
    """Smooth random field of unit scale."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, _SHAPE, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def noise(rng: np.random.Generator, across_mm: float, along_mm: float) -> Image:
    """Blurred noise of mean 0 and unit variance; near normal, since each pixel sums many uniform ones."""
    raw = np.frombuffer(rng.bytes(RADIOGRAPH_PX**2), np.uint8).reshape(_SHAPE)
    grains = blur_gray(raw, across_mm, along_mm)
    mean, sd = cv2.meanStdDev(grains)
    return np.asarray((grains - np.float32(mean[0, 0])) * np.float32(1 / sd[0, 0]), dtype=np.float32)


def collimate(radiograph: Image, edges: tuple[tuple[float, float], tuple[float, float]], black: float) -> None:
    """Darken what lies beyond the collimator's edges, in place."""
    for sign, (distance, angle) in zip((-1, 1), edges, strict=True):
        if distance >= RADIOGRAPH_MM / 2:
            continue
        lean = np.tan(np.deg2rad(angle)) * RADIOGRAPH_MM / 2
        far = sign * RADIOGRAPH_MM
        shade = blank()
        fill(shade, np.array([
            (sign * distance - lean, -RADIOGRAPH_MM / 2), (sign * distance + lean, RADIOGRAPH_MM / 2),
            (far, RADIOGRAPH_MM / 2), (far, -RADIOGRAPH_MM / 2),
        ]))  # fmt: skip
        radiograph += (np.float32(black) - radiograph) * blur_gray(shade, 0.4, 0.4)
