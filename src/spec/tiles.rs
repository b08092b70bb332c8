//! Which shader multiplies matrices, with tiles of which shape: a choice by class of product, fixed or measured on the device.

use super::{Capabilities, DeviceKind, Import};

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
    /// [`Multiplier::Tiled`]: 128 × 128, 16 of k at a time, in two slices of workgroup memory: 32 KiB.
    LargeDouble,
    /// [`Multiplier::Cooperative`]: 64 × 64, tensor cores of 8 × 8; 32 of k at a time, as all of them.
    Cooperative8,
    /// [`Multiplier::Cooperative`]: 64 × 64, tensor cores of 16 × 16.
    Cooperative16Small,
    /// [`Multiplier::Cooperative`]: 128 × 128, tensor cores of 16 × 16.
    Cooperative16,
    /// [`Multiplier::Cooperative`]: 128 × 256, tensor cores of 16 × 16.
    Cooperative16Wide,
}

impl Tile {
    /// All of them.
    pub const ALL: [Tile; 11] = [
        Tile::Subgroup,
        Tile::Direct,
        Tile::Tiny,
        Tile::Small,
        Tile::Large,
        Tile::LargeShallow,
        Tile::LargeDouble,
        Tile::Cooperative8,
        Tile::Cooperative16Small,
        Tile::Cooperative16,
        Tile::Cooperative16Wide,
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
            Tile::LargeDouble => "tiled 128x128x16 twice",
            Tile::Cooperative8 => "cooperative by 8, 64x64x32",
            Tile::Cooperative16Small => "cooperative 64x64x32",
            Tile::Cooperative16 => "cooperative 128x128x32",
            Tile::Cooperative16Wide => "cooperative 128x256x32",
        }
    }

    /// The tile of that name.
    pub fn of_name(name: &str) -> Option<Tile> {
        Tile::ALL.into_iter().find(|t| t.name() == name)
    }

    /// Rows and columns of results.
    pub const fn sides(self) -> (usize, usize) {
        match self {
            Tile::Subgroup | Tile::Tiny => (32, 32),
            Tile::Direct => (128, 64),
            Tile::Small | Tile::Cooperative8 | Tile::Cooperative16Small => (64, 64),
            Tile::Large | Tile::LargeShallow | Tile::LargeDouble | Tile::Cooperative16 => (128, 128),
            Tile::Cooperative16Wide => (128, 256),
        }
    }

    /// The shader, and its imports that give the shape.
    pub const fn multiplier(self) -> (Multiplier, &'static [Import]) {
        const FRAGMENT_8: Import = ("fragment", "linalg/fragment_8.wgsl");
        const FRAGMENT_16: Import = ("fragment", "linalg/fragment_16.wgsl");
        const PART_2X2: Import = ("part", "linalg/part_2x2.wgsl");
        const PART_4X2: Import = ("part", "linalg/part_4x2.wgsl");
        const PART_4X4: Import = ("part", "linalg/part_4x4.wgsl");
        match self {
            Tile::Subgroup => (Multiplier::Subgroup, &[]),
            Tile::Direct => (Multiplier::Direct, &[]),
            Tile::Tiny => (Multiplier::Tiled, &[("tile", "linalg/tile_32.wgsl")]),
            Tile::Small => (Multiplier::Tiled, &[("tile", "linalg/tile_64.wgsl")]),
            Tile::Large => (Multiplier::Tiled, &[("tile", "linalg/tile_128.wgsl")]),
            Tile::LargeShallow => (Multiplier::Tiled, &[("tile", "linalg/tile_128_shallow.wgsl")]),
            Tile::LargeDouble => (Multiplier::Tiled, &[("tile", "linalg/tile_128_double.wgsl")]),
            Tile::Cooperative8 => (Multiplier::Cooperative, &[FRAGMENT_8, PART_4X2]),
            Tile::Cooperative16Small => (Multiplier::Cooperative, &[FRAGMENT_16, PART_2X2]),
            Tile::Cooperative16 => (Multiplier::Cooperative, &[FRAGMENT_16, PART_4X2]),
            Tile::Cooperative16Wide => (Multiplier::Cooperative, &[FRAGMENT_16, PART_4X4]),
        }
    }

    /// Bytes of workgroup memory: all devices have 16 KiB.
    pub const fn workgroup_bytes(self) -> u32 {
        match self {
            Tile::LargeDouble => 32_768,
            Tile::Cooperative8 => 22_528,
            Tile::Cooperative16Small => 24_576,
            Tile::Cooperative16 => 49_152,
            Tile::Cooperative16Wide => 38_912,
            _ => 16_384,
        }
    }

    /// Whether a device can run it.
    pub fn runs_on(self, caps: &Capabilities) -> bool {
        let held = self.workgroup_bytes() <= caps.workgroup_bytes;
        match self {
            // Their results are more than a GPU's registers hold.
            Tile::Subgroup | Tile::Direct if caps.kind.is_gpu() => false,
            Tile::Subgroup => caps.subgroup_size.is_some_and(|size| size >= SUBGROUP_LANES),
            Tile::Cooperative8 => caps.tensor_cores == Some(8) && held,
            _ if self.multiplier().0 == Multiplier::Cooperative => caps.tensor_cores == Some(16) && held,
            _ => held,
        }
    }

    /// That of the device's tensor cores for a result of `[m, n]`, if it has them.
    pub fn cooperative(caps: &Capabilities, m: usize, n: usize) -> Option<Tile> {
        let large = m.div_ceil(128).saturating_mul(n.div_ceil(128)) >= FILLING_TILES;
        let by_16 = if large {
            [Tile::Cooperative16, Tile::Cooperative16Small]
        } else {
            [Tile::Cooperative16Small, Tile::Cooperative16]
        };
        by_16.into_iter().chain([Tile::Cooperative8]).find(|tile| tile.runs_on(caps))
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
            let rounds = t.multiplier().0 == Multiplier::Cooperative;
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

/// Tensor cores make small tiles below so many large ones, one to a core of a large GPU.
const FILLING_TILES: usize = 128;

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
        if let (Some(small), true) = (Tile::cooperative(caps, 1, 1), caps.rounds_operands) {
            let mut tiling = Tiling([small; 8]);
            let large = Tile::cooperative(caps, usize::MAX, usize::MAX).unwrap_or(small);
            Class::all().filter(|c| c.large).for_each(|c| tiling.set(c, large));
            return tiling;
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
