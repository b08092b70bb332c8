//! How a row kernel's workgroup is cut into teams, and how much of a row an invocation holds: chosen by the row's width.

use super::groups;
use crate::spec::Capabilities;

/// Vectors of four elements that an invocation has registers for, as in `shaders/common/held_team.wgsl`.
const MOST_HELD: u32 = 8;
/// Vectors that an invocation reads at once, each on its own, where the row has so many: memory is far away.
const IN_FLIGHT: u32 = 4;
/// The smallest team: neighbours read 64 bytes side by side.
const LEAST_LANES: u32 = 4;

/// The shape of a row kernel on a device, for rows of one width.
///
/// Where an invocation is a CPU's vector lane it takes a row by itself. On a GPU a team takes a row: a part of a subgroup, a subgroup, or a
/// whole workgroup, so large that each invocation holds 4 to 8 vectors of a row in registers, all of which it reads before it uses the first. A row
/// of more than 8 vectors to each invocation of the largest workgroup is read tile by tile, once for each pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowShape {
    /// Invocations of a workgroup.
    pub group: u32,
    /// Invocations that share a row.
    pub lanes: u32,
    /// Vectors of four elements that an invocation holds at a time.
    pub held: u32,
    /// Whether these are the whole row.
    pub whole: bool,
}

impl RowShape {
    /// The device's own teams, which hold nothing.
    pub(super) fn plain(caps: &Capabilities) -> Self {
        RowShape { group: caps.group, lanes: caps.lanes, held: 1, whole: false }
    }

    /// For rows of `width4` vectors of four elements.
    pub fn of(caps: &Capabilities, width4: usize) -> Self {
        if caps.lanes == 1 || !caps.group.is_power_of_two() || !caps.lanes.is_power_of_two() {
            return Self::plain(caps);
        }
        // Far above the widest row that is held.
        let width4 = u32::try_from(width4).unwrap_or(u32::MAX).clamp(1, 1 << 30);
        let most = 1 << (width4 / IN_FLIGHT).max(1).ilog2();
        let lanes = most.clamp(LEAST_LANES.min(caps.group), caps.group);
        let held = width4.div_ceil(lanes);
        let whole = held <= MOST_HELD;
        // Where subgroups share a row, no row waits at another's barrier; without subgroups, workgroup memory is less to each invocation of
        // the largest workgroup.
        let group = if caps.subgroup_teams && lanes > caps.lanes { lanes } else { caps.group };
        RowShape { group, lanes, held: held.min(MOST_HELD), whole }
    }

    /// For a sum over everything by a few teams: each is a workgroup.
    pub(super) fn largest(caps: &Capabilities) -> Self {
        match caps.lanes {
            1 => Self::plain(caps),
            _ if !caps.group.is_power_of_two() || !caps.lanes.is_power_of_two() => Self::plain(caps),
            _ => RowShape { group: caps.group, lanes: caps.group, held: MOST_HELD, whole: false },
        }
    }

    /// Workgroups for so many rows, up to what a dispatch may hold.
    pub(super) fn groups(self, rows: usize) -> u32 {
        groups(rows.div_ceil((self.group / self.lanes).max(1) as usize))
    }

    /// The values of the shaders' overrides.
    pub fn constants(self, caps: &Capabilities) -> [(&'static str, f64); 5] {
        let subgroup = if caps.subgroup_teams { caps.lanes } else { 1 };
        [
            ("GROUP", f64::from(self.group)),
            ("LANES", f64::from(self.lanes)),
            ("SUBGROUP", f64::from(subgroup)),
            ("HELD", f64::from(self.held)),
            ("WHOLE", f64::from(u8::from(self.whole))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(group: u32, lanes: u32, subgroup_teams: bool) -> Capabilities {
        let mut caps = crate::device::Device::host().capabilities().clone();
        (caps.group, caps.lanes, caps.subgroup_teams) = (group, lanes, subgroup_teams);
        caps
    }

    #[test]
    fn every_width_is_covered_by_its_team() {
        for (group, lanes, subgroups) in
            [(256, 32, true), (256, 64, true), (256, 32, false), (64, 8, false), (4, 4, false)]
        {
            let caps = caps(group, lanes, subgroups);
            for width4 in (1..3000).chain([16_384, usize::MAX]) {
                let shape = RowShape::of(&caps, width4);
                assert!(shape.group <= group && shape.group.is_multiple_of(shape.lanes), "{width4}: {shape:?}");
                assert!((1..=MOST_HELD).contains(&shape.held), "{width4}: {shape:?}");
                assert_eq!(shape.whole, width4 <= (shape.lanes * shape.held) as usize, "{width4}: {shape:?}");
                assert_eq!(shape.whole, width4 <= (MOST_HELD * group) as usize, "{width4}: {shape:?}");
                // Four loads at once, wherever the smallest team has so many.
                let most = (LEAST_LANES * IN_FLIGHT) as usize;
                assert!(shape.held >= IN_FLIGHT || width4 < most, "{width4}: {shape:?}");
                // Registers hold no more than a quarter in vain.
                let room = (shape.lanes * shape.held) as usize;
                assert!(!shape.whole || width4 < most || 5 * width4 >= 4 * (room - shape.lanes as usize + 1));
                // A barrier is for one row where subgroups share it.
                assert!(!subgroups || shape.lanes <= lanes || shape.group == shape.lanes, "{width4}: {shape:?}");
            }
        }
    }

    #[test]
    fn shapes_of_usual_widths() {
        let shape = |width: usize| {
            let RowShape { group, lanes, held, whole } = RowShape::of(&caps(256, 32, true), width / 4);
            (group, lanes, held, whole)
        };
        assert_eq!(shape(64), (256, 4, 4, true));
        assert_eq!(shape(576), (256, 32, 5, true));
        assert_eq!(shape(1280), (64, 64, 5, true));
        assert_eq!(shape(4096), (256, 256, 4, true));
        assert_eq!(shape(8192), (256, 256, 8, true));
        assert_eq!(shape(8196), (256, 256, 8, false));
    }

    #[test]
    fn a_lane_of_a_cpu_and_odd_teams_take_rows_as_they_did() {
        for (group, lanes) in [(64, 1), (48, 16), (256, 256 / 5)] {
            let shape = RowShape::of(&caps(group, lanes, false), 100);
            assert_eq!((shape.group, shape.lanes, shape.held, shape.whole), (group, lanes, 1, false));
        }
    }
}
