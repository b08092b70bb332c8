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
    /// Why every index of the shader is in range, every loop ends and no divisor is zero, where the kernel's own wrapper records it: it then runs
    /// without the checks that wgpu adds. `None`: it is always checked.
    pub(crate) in_range: Option<&'static str>,
    /// Whether it is for processors that hold much to an invocation: a GPU's registers spill, so that GPUs refuse it.
    pub cpu_only: bool,
}

impl KernelSpec {
    /// A kernel without overrides, whose grid is run at once. `bindings` are the uniform block and then up to 8 storage buffers.
    pub const fn new(
        name: &'static str,
        source: &'static str,
        bindings: &'static [Binding],
        twin: fn(&mut HostCall<'_>) -> Result<()>,
    ) -> Self {
        KernelSpec {
            name,
            source,
            bindings,
            twin,
            grid: false,
            overrides: &[],
            imports: &[],
            in_range: None,
            cpu_only: false,
        }
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

    /// The same, trusted where its own wrapper records it: `why` is one of [`super::in_range`].
    #[must_use]
    pub(crate) const fn trusted(self, why: &'static str) -> Self {
        KernelSpec { in_range: Some(why), ..self }
    }

    /// The same, for the devices that another is for, and trusted for its reason, if it has one.
    #[must_use]
    pub(crate) const fn like(self, other: &KernelSpec) -> Self {
        KernelSpec { in_range: other.in_range, cpu_only: other.cpu_only, ..self }
    }

    /// The same for the host engine and for drivers that run on the CPU alone.
    #[must_use]
    pub const fn for_cpus(self) -> Self {
        KernelSpec { cpu_only: true, ..self }
    }

    /// The same with imports of its own.
    #[must_use]
    pub const fn with_imports(self, imports: &'static [Import]) -> Self {
        KernelSpec { imports, ..self }
    }
}
