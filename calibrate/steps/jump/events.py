"""Parameters of large events, snowballs and showers, which the jump step does not find yet.

They are known so that jwst's parameter files can be read; switching either on is refused.
"""

from calbatch.calibrate.parameters import Boolean, Float, Integer


class LargeEvents:
    """Parameters that the jump step inherits."""

    expand_large_events = Boolean(False, help="find snowballs: not supported yet")
    min_sat_area = Float(1.0, unit="pixel", help="snowballs: least area of the saturated core")
    min_jump_area = Float(5.0, unit="pixel", help="snowballs: least area of a large event")
    expand_factor = Float(2.0, help="snowballs: how much the flagged ellipse grows")
    use_ellipses = Boolean(False, help="snowballs: without effect, as in jwst")
    sat_required_snowball = Boolean(True, help="snowballs: only with a saturated core")
    min_sat_radius_extend = Float(2.5, unit="pixel", help="snowballs: cores from here on grow")
    sat_expand = Integer(2, unit="pixel", help="snowballs: by how much saturated cores grow")
    edge_size = Integer(25, unit="pixel", help="snowballs: near the edge no core is required")
    mask_snowball_core_next_int = Boolean(True, help="snowballs: flag in the next integration")
    snowball_time_masked_next_int = Integer(4000, unit="s", help="snowballs: for so long there")
    max_extended_radius = Integer(200, unit="pixel", help="large events: how far flags extend")
    find_showers = Boolean(False, help="find showers: not supported yet")
    max_shower_amplitude = Float(4.0, unit="DN/s", help="showers: largest amplitude")
    extend_snr_threshold = Float(1.2, help="showers: least signal-to-noise ratio")
    extend_min_area = Integer(90, unit="pixel", help="showers: least area")
    extend_inner_radius = Float(1.0, unit="pixel", help="showers: inner radius of the kernel")
    extend_outer_radius = Float(2.6, unit="pixel", help="showers: outer radius of the kernel")
    extend_ellipse_expand_ratio = Float(1.1, help="showers: how much the ellipse grows")
    time_masked_after_shower = Float(15.0, unit="s", help="showers: flag for so long after one")
