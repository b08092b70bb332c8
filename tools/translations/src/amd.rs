//! Mesa's Vulkan driver for AMD as a compiler: it makes pipelines for chips that are not there, and says what they take.
//!
//! The chip is that of the environment's `RADV_FORCE_FAMILY`, and the driver that of `VK_DRIVER_FILES`, which the Vulkan loader reads once
//! in a process: see `src/bin/compile_for_amd.rs`.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::PathBuf;

use ash::{Device, Entry, Instance, khr, vk};
use serde::{Deserialize, Serialize};

/// The driver's description, where Debian and Ubuntu have it: `radeon_icd.json`, or with the processor's name in it.
///
/// # Errors
/// There is none.
pub fn driver() -> Result<PathBuf, String> {
    let folder = "/usr/share/vulkan/icd.d";
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("radeon_icd") && name.ends_with(".json")
    };
    let found = files.into_iter().find(is_it);
    found.ok_or_else(|| format!("no radeon_icd*.json in {folder}; apt-get install mesa-vulkan-drivers"))
}

/// The chips of the report, a generation each: GCN 4, GCN 5, RDNA 2, RDNA 3.
pub const CHIPS: [&str; 4] = ["polaris10", "vega10", "navi21", "gfx1100"];
/// Those that are compiled for where not all of them are asked: the first alone, which has the fewest units, where the table is not written.
pub const USUAL: [&str; 2] = ["polaris10", "navi21"];
/// Kernels that spill on a chip, which is a fault yet to be mended: Mesa 22.3 gives no shader more than 132 registers on RDNA 3, where these
/// take 180 to 256 on the others.
pub const SPILLING: [(&str, &str); 5] = [
    ("gfx1100", "attention tiled"),
    ("gfx1100", "attention relative tiled"),
    ("gfx1100", "attention queries backward tiled"),
    ("gfx1100", "attention keys backward tiled"),
    ("gfx1100", "moments"),
];

/// What a pipeline takes on a chip. Of several executables or variants, the most, and the fewest waves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Vector registers of an invocation.
    pub vgprs: u64,
    /// Vector and scalar registers that did not fit.
    pub spills: u64,
    /// Bytes of memory for an invocation's variables that are in no register.
    pub scratch: u64,
    /// Bytes of workgroup memory.
    pub lds: u64,
    /// Waves that a SIMD unit holds at a time.
    pub waves: u64,
    /// Instructions, without regard to loops.
    pub instructions: u64,
    /// Cycles between two waves where one runs after the other, as the compiler estimates them.
    pub inverse_throughput: u64,
}

impl Statistics {
    fn of(values: &BTreeMap<String, u64>) -> Result<Statistics, String> {
        let get = |name: &str| values.get(name).copied().ok_or_else(|| format!("no statistic {name} in {values:?}"));
        Ok(Statistics {
            vgprs: get("VGPRs")?,
            spills: get("Spilled VGPRs")? + get("Spilled SGPRs")?,
            scratch: get("Scratch size")?,
            lds: get("LDS size")?,
            waves: get("Subgroups per SIMD")?,
            instructions: get("Instructions")?,
            inverse_throughput: get("Inverse Throughput")?,
        })
    }

    /// The worse of two, statistic by statistic.
    #[must_use]
    pub fn worst(self, other: Statistics) -> Statistics {
        Statistics {
            vgprs: self.vgprs.max(other.vgprs),
            spills: self.spills.max(other.spills),
            scratch: self.scratch.max(other.scratch),
            lds: self.lds.max(other.lds),
            waves: self.waves.min(other.waves),
            instructions: self.instructions.max(other.instructions),
            inverse_throughput: self.inverse_throughput.max(other.inverse_throughput),
        }
    }
}

/// A chip that is not there, with its compiler.
pub struct Chip {
    // Functions are called through it until the end.
    _entry: Entry,
    instance: Instance,
    device: Device,
    executables: khr::pipeline_executable_properties::Device,
    /// As the driver calls it.
    pub name: String,
    /// The driver's version.
    pub version: String,
}

/// An error of the driver, with what was asked of it.
fn said(what: &'static str) -> impl Fn(vk::Result) -> String {
    move |result| format!("{what}: {result}")
}

impl Chip {
    /// The chip of the environment.
    ///
    /// # Errors
    /// No Vulkan loader; no such driver or chip; a device without what the report needs.
    pub fn open() -> Result<Chip, String> {
        // SAFETY: the loader is the system's; the descriptions live as long as the calls; handles are destroyed once, in `drop`.
        unsafe {
            let entry = Entry::load().map_err(|e| format!("{e}; apt-get install mesa-vulkan-drivers"))?;
            let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let create = vk::InstanceCreateInfo::default().application_info(&app);
            let instance = entry.create_instance(&create, None).map_err(said("vkCreateInstance"))?;
            let found = instance.enumerate_physical_devices().map_err(said("vkEnumeratePhysicalDevices"))?;
            let physical = *found.first().ok_or("no chip: are VK_DRIVER_FILES and RADV_FORCE_FAMILY set?")?;
            let mut driver = vk::PhysicalDeviceDriverProperties::default();
            let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
            instance.get_physical_device_properties2(physical, &mut properties);
            let name = text(&properties.properties.device_name);
            let version = text(&driver.driver_info);
            let device = Self::device(&instance, physical)?;
            let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
            Ok(Chip { _entry: entry, instance, device, executables, name, version })
        }
    }

    /// With every feature that wgpu would ask for, and the extension that tells what pipelines take.
    unsafe fn device(instance: &Instance, physical: vk::PhysicalDevice) -> Result<Device, String> {
        let mut features11 = vk::PhysicalDeviceVulkan11Features::default();
        let mut features12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut features13 = vk::PhysicalDeviceVulkan13Features::default();
        let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        let mut all = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut features11)
            .push_next(&mut features12)
            .push_next(&mut features13)
            .push_next(&mut robust)
            .push_next(&mut executables);
        // SAFETY: as in `open`. What the driver says it has is asked for.
        unsafe { instance.get_physical_device_features2(physical, &mut all) };
        let queue = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
        let extensions = [khr::pipeline_executable_properties::NAME.as_ptr(), ash::ext::robustness2::NAME.as_ptr()];
        let create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queue)
            .enabled_extension_names(&extensions)
            .push_next(&mut all);
        // SAFETY: as in `open`.
        unsafe { instance.create_device(physical, &create, None).map_err(said("vkCreateDevice")) }
    }

    /// Compiles SPIR-V whose entry point is `main`. `bindings` are the numbers of its buffers, with their types.
    ///
    /// # Errors
    /// What the driver objects to, or a statistic that it does not have.
    pub fn compile(&self, spirv: &[u8], bindings: &[(u32, vk::DescriptorType)]) -> Result<Statistics, String> {
        let code = ash::util::read_spv(&mut std::io::Cursor::new(spirv)).map_err(|e| e.to_string())?;
        let entries: Vec<_> = bindings
            .iter()
            .map(|(binding, ty)| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(*binding)
                    .descriptor_type(*ty)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        // SAFETY: as in `open`; the module is valid SPIR-V, as another test asks Khronos' validator.
        unsafe {
            let module = vk::ShaderModuleCreateInfo::default().code(&code);
            let module = self.device.create_shader_module(&module, None).map_err(said("vkCreateShaderModule"))?;
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&entries);
            let set = self.device.create_descriptor_set_layout(&set, None).map_err(said("a set's layout"))?;
            let sets = [set];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = self.device.create_pipeline_layout(&layout, None).map_err(said("a pipeline's layout"))?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let create = vk::ComputePipelineCreateInfo::default()
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR)
                .stage(stage)
                .layout(layout);
            let made = self.device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let result = match made {
                Ok(pipelines) => {
                    let result = self.statistics(pipelines[0]);
                    self.device.destroy_pipeline(pipelines[0], None);
                    result
                }
                Err((_, result)) => Err(said("vkCreateComputePipelines")(result)),
            };
            self.device.destroy_pipeline_layout(layout, None);
            self.device.destroy_descriptor_set_layout(set, None);
            self.device.destroy_shader_module(module, None);
            result
        }
    }

    /// What the pipeline's one executable takes.
    unsafe fn statistics(&self, pipeline: vk::Pipeline) -> Result<Statistics, String> {
        let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        // SAFETY: the pipeline lives, and was made to be asked.
        let all = unsafe { self.executables.get_pipeline_executable_statistics(&info) };
        let all = all.map_err(said("vkGetPipelineExecutableStatisticsKHR"))?;
        let value = |s: &vk::PipelineExecutableStatisticKHR<'_>| {
            // SAFETY: the format says which of the union's fields is set.
            match s.format {
                vk::PipelineExecutableStatisticFormatKHR::UINT64 => Some(unsafe { s.value.u64 }),
                _ => None,
            }
        };
        Statistics::of(&all.iter().filter_map(|s| Some((text(&s.name), value(s)?))).collect())
    }
}

/// Characters up to the first zero.
fn text(characters: &[std::ffi::c_char]) -> String {
    // SAFETY: both are one byte, and every value of either is one of the other.
    let bytes: &[u8] = unsafe { std::slice::from_raw_parts(characters.as_ptr().cast(), characters.len()) };
    CStr::from_bytes_until_nul(bytes).map_or(String::new(), |text| text.to_string_lossy().into_owned())
}

impl Drop for Chip {
    fn drop(&mut self) {
        // SAFETY: made by `open`, and nothing of it is left.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}
