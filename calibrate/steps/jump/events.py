"""Parameters for large events: snowballs and showers."""

from calbatch.calibrate.parameters import Boolean, Float, Integer
from calbatch.calibrate.steps.jump.emission import EmissionRules
from calbatch.calibrate.steps.jump.rings import make_ring
from calbatch.calibrate.steps.jump.showers import ShowerRules
from calbatch.calibrate.steps.jump.snowballs import SnowballRules


class LargeEvents:
    """Parameters for large events, which the jump step inherits."""

    expand_large_events = Boolean(False, help="find snowballs")
    min_sat_area = Float(1.0, unit="pixel", help="snowballs: minimum area of the saturated core")
    min_jump_area = Float(5.0, unit="pixel", help="snowballs: minimum area of a large event")
    expand_factor = Float(2.0, help="snowballs: growth factor of the flagged ellipse")
    use_ellipses = Boolean(False, help="snowballs: no effect, as in jwst")
    sat_required_snowball = Boolean(True, help="snowballs: require a saturated core")
    min_sat_radius_extend = Float(
        2.5, unit="pixel", help="snowballs: minimum radius of cores that grow"
    )
    sat_expand = Integer(2, unit="pixel", help="snowballs: growth of saturated cores")
    edge_size = Integer(
        25, unit="pixel", help="snowballs: width of the edge where no core is required"
    )
    mask_snowball_core_next_int = Boolean(
        True, help="snowballs: flag cores in the next integration"
    )
    snowball_time_masked_next_int = Integer(
        4000, unit="s", help="snowballs: duration of these flags"
    )
    max_extended_radius = Integer(200, unit="pixel", help="large events: maximum radius of flags")
    find_showers = Boolean(False, help="find showers")
    max_shower_amplitude = Float(
        4.0, unit="DN/s", help="showers: no effect, as in jwst: it is always 6"
    )
    extend_snr_threshold = Float(1.2, help="showers: minimum signal-to-noise ratio")
    extend_min_area = Integer(90, unit="pixel", help="showers: minimum area")
    extend_inner_radius = Float(
        1.0, low=0, unit="pixel", help="showers: inner radius of the kernel"
    )
    extend_outer_radius = Float(
        2.6, low=0, unit="pixel", help="showers: outer radius of the kernel"
    )
    extend_ellipse_expand_ratio = Float(1.1, help="showers: growth factor of the ellipse")
    time_masked_after_shower = Float(
        15.0, unit="s", help="showers: duration of the flags after a shower"
    )


def snowball_rules(step: LargeEvents, group_time: float) -> SnowballRules:
    """Return the rules of a search for snowballs; axes are twice the radii."""
    seconds = step.snowball_time_masked_next_int if step.mask_snowball_core_next_int else 0
    return SnowballRules(
        min_core_area=step.min_sat_area,
        min_area=step.min_jump_area,
        factor=step.expand_factor,
        needs_core=step.sat_required_snowball,
        min_core_axis=step.min_sat_radius_extend,
        core_growth=2 * step.sat_expand,
        edge=step.edge_size,
        max_axis=2 * step.max_extended_radius,
        next_groups=int(seconds // group_time),
    )


def emission_rules(step: LargeEvents, frames: float, clip_integrations: int) -> EmissionRules:
    """Return the rules of a search for emission."""
    return EmissionRules(
        frames=frames,
        clip_integrations=clip_integrations,
        ring=make_ring(step.extend_inner_radius, step.extend_outer_radius),
        threshold=step.extend_snr_threshold,
    )


def shower_rules(step: LargeEvents, group_time: float) -> ShowerRules:
    """Return the rules of a search for showers; axes are twice the radii."""
    return ShowerRules(
        min_area=step.extend_min_area,
        factor=step.extend_ellipse_expand_ratio,
        max_axis=2 * step.max_extended_radius,
        later_groups=int(step.time_masked_after_shower // group_time),
    )
