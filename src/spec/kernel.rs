//! What a kernel is: its name, its shader, its bindings and its twin.

use super::{Constant, HostCall, Import};
use crate::Result;

/// The binding of `common/grid.wgsl`, which every kernel may read and none declares.
pub const GRID_BINDING: u32 = 15;

/// Texels of four words in a line of a texture that stands for a buffer; the shaders' `*_texture.wgsl` know it too.
pub const TEXEL_LINE: u32 = 4096;

/// How a kernel sees one of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingKind {
    /// A small block of parameters, always binding 0.
    Uniform,
    /// A storage buffer that is only read.
    Read,
    /// Words that are only read, four to an entry: a storage buffer, or, where [`Capabilities::texel_reads`](super::Capabilities::texel_reads), its copy in a
    /// `texture_2d<u32>` of [`TEXEL_LINE`] texels a line.
    Texels,
    /// A storage buffer that is read and written.
    ReadWrite,
}

/// One entry of a kernel's only bind group; its index is its place in [`KernelSpec::bindings`].
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The variable's name in the shader.
    pub name: &'static str,
    /// How it is accessed.
    pub kind: BindingKind,
    /// The binding index in the shader.
    pub index: u32,
}

impl Binding {
    const fn new(index: u32, name: &'static str, kind: BindingKind) -> Self {
        Binding { name, kind, index }
    }

    /// The parameter block, binding 0.
    pub const fn uniform(name: &'static str) -> Self {
        Self::new(0, name, BindingKind::Uniform)
    }

    /// A storage buffer that is only read.
    pub const fn read(index: u32, name: &'static str) -> Self {
        Self::new(index, name, BindingKind::Read)
    }

    /// Words that are only read, as a storage buffer or a texture.
    pub const fn texels(index: u32, name: &'static str) -> Self {
        Self::new(index, name, BindingKind::Texels)
    }

    /// A storage buffer that is read and written.
    pub const fn read_write(index: u32, name: &'static str) -> Self {
        Self::new(index, name, BindingKind::ReadWrite)
    }
}

/// Everything that an engine must know of a kernel. Apps may make their own: see `examples/custom_kernel.rs`.
///
/// ```
/// use realign::kernels::{Binding, KernelSpec};
///
/// static DOUBLE: KernelSpec = KernelSpec::new(
///     "double",
///     "@group(0) @binding(0) var<uniform> count: vec4<u32>;
///      @group(0) @binding(1) var<storage, read_write> values: array<f32>;
///      @compute @workgroup_size(64)
///      fn main(@builtin(global_invocation_id) id: vec3<u32>) {
///          if id.x < count.x { values[id.x] *= 2.0; }
///      }",
///     &[Binding::uniform("count"), Binding::read_write(1, "values")],
///     |call| {
///         call.write(0)?.chunks_exact_mut(4).for_each(|_| { /* the same on the host */ });
///         Ok(())
///     },
/// );
/// assert!(!DOUBLE.grid);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct KernelSpec {
    /// Unique name; shown in errors and timings.
    pub name: &'static str,
    /// WGSL with an entry point `main`; `#import` lines are resolved by [`shader::expand`](super::shader::expand).
    pub source: &'static str,
    /// The bind group's entries, the uniform first.
    pub bindings: &'static [Binding],
    /// The same computation on the host's memory.
    pub twin: fn(&mut HostCall<'_>) -> Result<()>,
    /// Whether the shader reads `common/grid.wgsl`, so that its grid may be run in parts.
    pub grid: bool,
    /// Names of the shader's overrides, the same in every variant; values for others are left out.
    pub overrides: &'static [&'static str],
    /// Which files stand for names that the source imports, whatever the variant says.
    pub imports: &'static [Import],
}

impl KernelSpec {
    /// A kernel without overrides, whose grid is run at once. `bindings` are the uniform block and then up to 8 storage buffers.
    pub const fn new(
        name: &'static str,
        source: &'static str,
        bindings: &'static [Binding],
        twin: fn(&mut HostCall<'_>) -> Result<()>,
    ) -> Self {
        KernelSpec { name, source, bindings, twin, grid: false, overrides: &[], imports: &[] }
    }

    /// The complete WGSL with these files for the names that the kernel does not fix itself.
    ///
    /// # Errors
    /// A name or path that does not exist.
    pub fn expanded(&self, imports: &[Import]) -> Result<String> {
        super::shader::expand(self.source, &[self.imports, imports].concat())
    }

    /// The values for overrides that the shader has.
    pub fn constants(&self, of: &[Constant]) -> Vec<Constant> {
        of.iter().copied().filter(|(name, _)| self.overrides.contains(name)).collect()
    }

    /// The same with a shader that reads `common/grid.wgsl`.
    #[must_use]
    pub const fn with_grid(self) -> Self {
        KernelSpec { grid: true, ..self }
    }

    /// The same with these overrides in the shader.
    #[must_use]
    pub const fn with_overrides(self, overrides: &'static [&'static str]) -> Self {
        KernelSpec { overrides, ..self }
    }

    /// The same with imports of its own.
    #[must_use]
    pub const fn with_imports(self, imports: &'static [Import]) -> Self {
        KernelSpec { imports, ..self }
    }
}
