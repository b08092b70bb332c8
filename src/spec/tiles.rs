//! Which shader multiplies matrices, with tiles of which shape: a choice by class of product, fixed or measured on the device.

use super::{Capabilities, DeviceKind};

/// The shaders that multiply matrices; each is a kernel of its own for every epilogue, see `kernels::linalg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Multiplier {
    /// For adapters that run on a CPU and have subgroups of [`SUBGROUP_LANES`] or more.
    Subgroup,
    /// For other adapters that run on a CPU.
    Direct,
    /// For GPUs.
    Tiled,
    /// For tensor cores (cooperative matrices).
    Cooperative,
}

/// Invocations of a workgroup of [`Multiplier::Subgroup`], all in one subgroup.
pub const SUBGROUP_LANES: u32 = 8;

/// Invocations of a subgroup of [`Multiplier::Cooperative`].
pub const COOPERATIVE_LANES: u32 = 32;

/// A shader and the tile that a workgroup makes with it. All sum in order of k.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// [`Multiplier::Subgroup`]: 32 × 32, a subgroup each.
    Subgroup,
    /// [`Multiplier::Direct`]: 128 × 64, straight from storage.
    Direct,
    /// [`Multiplier::Tiled`]: 32 × 32, 16 of k at a time.
    Tiny,
    /// [`Multiplier::Tiled`]: 64 × 64, 16 of k at a time.
    Small,
    /// [`Multiplier::Tiled`]: 128 × 128, 16 of k at a time.
    Large,
    /// [`Multiplier::Tiled`]: 128 × 128, 8 of k at a time.
    LargeShallow,
    /// [`Multiplier::Cooperative`]: 64 × 64, tensor cores of 8 × 8.
    Cooperative8,
    /// [`Multiplier::Cooperative`]: 128 × 128, tensor cores of 16 × 16.
    Cooperative16,
}

impl Tile {
    /// All of them.
    pub const ALL: [Tile; 8] = [
        Tile::Subgroup,
        Tile::Direct,
        Tile::Tiny,
        Tile::Small,
        Tile::Large,
        Tile::LargeShallow,
        Tile::Cooperative8,
        Tile::Cooperative16,
    ];

    /// As files and tables have it.
    pub const fn name(self) -> &'static str {
        match self {
            Tile::Subgroup => "subgroup 32x32",
            Tile::Direct => "direct 128x64",
            Tile::Tiny => "tiled 32x32x16",
            Tile::Small => "tiled 64x64x16",
            Tile::Large => "tiled 128x128x16",
            Tile::LargeShallow => "tiled 128x128x8",
            Tile::Cooperative8 => "cooperative 64x64x16",
            Tile::Cooperative16 => "cooperative 128x128x16",
        }
    }

    /// The tile of that name, or of the name that files of version 0.1 before its release have.
    pub fn of_name(name: &str) -> Option<Tile> {
        let now = name.replace("units ", "cooperative ");
        Tile::ALL.into_iter().find(|t| t.name() == now)
    }

    /// Rows and columns of results.
    pub const fn sides(self) -> (usize, usize) {
        match self {
            Tile::Subgroup | Tile::Tiny => (32, 32),
            Tile::Direct => (128, 64),
            Tile::Small | Tile::Cooperative8 => (64, 64),
            Tile::Large | Tile::LargeShallow | Tile::Cooperative16 => (128, 128),
        }
    }

    /// The shader, and its import that gives the shape.
    pub const fn multiplier(self) -> (Multiplier, (&'static str, &'static str)) {
        match self {
            Tile::Subgroup => (Multiplier::Subgroup, ("tile", "linalg/tile_64.wgsl")),
            Tile::Direct => (Multiplier::Direct, ("tile", "linalg/tile_64.wgsl")),
            Tile::Tiny => (Multiplier::Tiled, ("tile", "linalg/tile_32.wgsl")),
            Tile::Small => (Multiplier::Tiled, ("tile", "linalg/tile_64.wgsl")),
            Tile::Large => (Multiplier::Tiled, ("tile", "linalg/tile_128.wgsl")),
            Tile::LargeShallow => (Multiplier::Tiled, ("tile", "linalg/tile_128_shallow.wgsl")),
            Tile::Cooperative8 => (Multiplier::Cooperative, ("fragment", "linalg/fragment_8.wgsl")),
            Tile::Cooperative16 => (Multiplier::Cooperative, ("fragment", "linalg/fragment_16.wgsl")),
        }
    }

    /// Whether a device can run it.
    pub fn runs_on(self, caps: &Capabilities) -> bool {
        match self {
            // Their results are more than a GPU's registers hold.
            Tile::Subgroup | Tile::Direct if caps.kind.is_gpu() => false,
            Tile::Subgroup => caps.subgroup_size.is_some_and(|size| size >= SUBGROUP_LANES),
            Tile::Cooperative8 => caps.tensor_cores == Some(8),
            Tile::Cooperative16 => caps.tensor_cores == Some(16),
            _ => true,
        }
    }

    /// That of the device's tensor cores, if it has them.
    pub fn cooperative(caps: &Capabilities) -> Option<Tile> {
        [Tile::Cooperative8, Tile::Cooperative16].into_iter().find(|tile| tile.runs_on(caps))
    }

    /// Whether it sums parts of k side by side.
    pub(crate) fn has_layers(self) -> bool {
        !matches!(self, Tile::Subgroup | Tile::Direct)
    }

    /// What is worth trying on a device: on a GPU the tiled shapes, on a driver that runs on a CPU those without barriers, too.
    pub fn candidates(caps: &Capabilities) -> Vec<Tile> {
        let on_cpu = matches!(caps.kind, DeviceKind::Software | DeviceKind::Host);
        let worth = |t: &Tile| {
            let barriers = !matches!(t, Tile::Subgroup | Tile::Direct);
            let rounds = matches!(t, Tile::Cooperative8 | Tile::Cooperative16);
            let in_f32 = !rounds || caps.rounds_operands;
            in_f32 && t.runs_on(caps) && if on_cpu { !barriers || *t == Tile::Small } else { barriers }
        };
        Tile::ALL.into_iter().filter(worth).collect()
    }
}

/// A class of products that one tile serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// Whether A is transposed.
    pub transpose_a: bool,
    /// Whether B is transposed.
    pub transpose_b: bool,
    /// Whether there are tiles of 128 × 128 enough to fill a large GPU.
    pub large: bool,
}

/// Small tiles below so many large ones: a large GPU has more than a hundred cores.
const LARGE_TILES: usize = 256;

impl Class {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Class> {
        (0..8).map(|i| Class { transpose_a: i & 1 > 0, transpose_b: i & 2 > 0, large: i & 4 > 0 })
    }

    /// The class of a product with a result of `[m, n]`.
    pub fn of((transpose_a, transpose_b): (bool, bool), m: usize, n: usize) -> Class {
        let large = m.div_ceil(128).saturating_mul(n.div_ceil(128)) >= LARGE_TILES;
        Class { transpose_a, transpose_b, large }
    }

    /// As files and tables have it: `A Bᵀ, large`.
    pub fn name(self) -> String {
        let turned = |t: bool| if t { "ᵀ" } else { "" };
        let size = if self.large { "large" } else { "small" };
        format!("A{} B{}, {size}", turned(self.transpose_a), turned(self.transpose_b))
    }

    fn index(self) -> usize {
        usize::from(self.transpose_a) + 2 * usize::from(self.transpose_b) + 4 * usize::from(self.large)
    }
}

/// A tile for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling([Tile; 8]);

impl Tiling {
    /// The choice that is made without measuring.
    pub fn fixed(caps: &Capabilities) -> Tiling {
        // A lane that takes a row of its own is a CPU's, unless somebody asked a GPU for it.
        if caps.lanes == 1 && !caps.kind.is_gpu() {
            return Tiling([if Tile::Subgroup.runs_on(caps) { Tile::Subgroup } else { Tile::Direct }; 8]);
        }
        if let Some(units) = Tile::cooperative(caps).filter(|_| caps.rounds_operands) {
            return Tiling([units; 8]);
        }
        let mut tiling = Tiling([Tile::Small; 8]);
        if caps.group >= 256 {
            Class::all().filter(|c| c.large).for_each(|c| tiling.set(c, Tile::Large));
        }
        tiling
    }

    /// One tile for all classes.
    pub fn all(tile: Tile) -> Tiling {
        Tiling([tile; 8])
    }

    /// The tile of a class.
    pub fn get(&self, class: Class) -> Tile {
        self.0[class.index()]
    }

    /// Changes it.
    pub fn set(&mut self, class: Class, tile: Tile) {
        self.0[class.index()] = tile;
    }

    /// The names of all classes and of their tiles, as files have them.
    pub fn names(&self) -> impl Iterator<Item = (String, &'static str)> {
        Class::all().map(|class| (class.name(), self.get(class).name()))
    }

    /// Whether a device can run all of it.
    pub fn runs_on(&self, caps: &Capabilities) -> bool {
        self.0.iter().all(|t| t.runs_on(caps))
    }
}
