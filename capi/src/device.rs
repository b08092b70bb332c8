//! Devices, and the adapters that there are.

use std::ffi::{CString, c_char};
use std::ptr;

use realign::device::{Device, DeviceOptions, Selection, list_adapters};

use super::status::{Result, c_string, guard, guard_value};
use super::{RealignStatus, input, output};

/// A device: a GPU, or the host's cores. It may be shared between threads.
pub struct RealignDevice {
    pub(crate) device: Device,
    name: CString,
    kind: CString,
    backend: CString,
}

/// A list of the adapters that there are. It may be shared between threads.
pub struct RealignAdapters(Vec<[CString; 4]>);

/// The device that `name` stands for.
fn open(name: Option<&str>) -> Result<RealignDevice> {
    let selection = match name.unwrap_or("auto").parse::<Selection>() {
        Ok(selection) => selection,
        Err(never) => match never {},
    };
    let device = Device::request_blocking(&DeviceOptions::default().selection(selection))?;
    let text = |of: &str| c_string(of);
    let (name, kind, backend) = (text(device.name()), text(device.capabilities().kind.name()), text(device.backend()));
    Ok(RealignDevice { device, name, kind, backend })
}

/// Opens a device. `name` is NULL or "auto" for the best one (a discrete GPU, else an integrated one, else the host engine), "gpu" for a GPU or an error,
/// "host" for this machine's cores without any driver, a part of an adapter's name, or its number in the list of realign_adapters_new. The environment
/// variables WGPU_BACKEND and WGPU_ADAPTER_NAME are heeded. What is made on a device keeps it alive: it may be freed at any time.
///
/// # Safety
/// `name` is NULL or a string; `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_device_open(name: *const c_char, out: *mut *mut RealignDevice) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let (out, name) = unsafe { (output::object(out)?, input::optional_text("name", name)?) };
        out.give(open(name)?);
        Ok(())
    })
}

/// What a device says of itself.
///
/// # Safety
/// `device` is null or a device that is not freed.
unsafe fn of_device(device: *const RealignDevice, text: impl Fn(&RealignDevice) -> &CString) -> *const c_char {
    guard_value(ptr::null(), || {
        // SAFETY: as the caller says.
        unsafe { input::shared("device", device) }.map_or(ptr::null(), |device| text(device).as_ptr())
    })
}

/// The adapter's name, or the host engine's; it lives as long as the device. NULL for NULL.
///
/// # Safety
/// `device` is NULL or a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_device_name(device: *const RealignDevice) -> *const c_char {
    // SAFETY: as this function's caller says.
    unsafe { of_device(device, |device| &device.name) }
}

/// "discrete GPU", "integrated GPU", "GPU", "software GPU" or "host engine"; it lives as long as the device. NULL for NULL.
///
/// # Safety
/// `device` is NULL or a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_device_kind(device: *const RealignDevice) -> *const c_char {
    // SAFETY: as this function's caller says.
    unsafe { of_device(device, |device| &device.kind) }
}

/// "vulkan", "metal", "dx12", "gl" or "host"; it lives as long as the device. NULL for NULL.
///
/// # Safety
/// `device` is NULL or a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_device_backend(device: *const RealignDevice) -> *const c_char {
    // SAFETY: as this function's caller says.
    unsafe { of_device(device, |device| &device.backend) }
}

/// Frees a device. What was made on it goes on with it.
///
/// # Safety
/// `device` is NULL or a device that is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_device_free(device: *mut RealignDevice) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(device) }
}

/// Lists the adapters of all backends, or those of WGPU_BACKEND. The host engine, which is always there, is not among them.
///
/// # Safety
/// `out` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_adapters_new(out: *mut *mut RealignAdapters) -> RealignStatus {
    guard(|| {
        // SAFETY: as this function's caller says.
        let out = unsafe { output::object(out)? };
        let found = list_adapters(None)?;
        let of =
            |a: &realign::device::AdapterSummary| [&a.name[..], a.kind.name(), &a.backend, &a.driver].map(c_string);
        out.give(RealignAdapters(found.iter().map(of).collect()));
        Ok(())
    })
}

/// How many adapters there are; 0 for NULL.
///
/// # Safety
/// `adapters` is NULL or a list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_adapters_count(adapters: *const RealignAdapters) -> usize {
    // SAFETY: as this function's caller says.
    guard_value(0, || unsafe { input::shared("adapters", adapters) }.map_or(0, |adapters| adapters.0.len()))
}

/// What a list says of one of its adapters.
///
/// # Safety
/// `adapters` is null or a list that is not freed.
unsafe fn of_adapter(adapters: *const RealignAdapters, index: usize, text: usize) -> *const c_char {
    guard_value(ptr::null(), || {
        // SAFETY: as the caller says.
        let adapters = unsafe { input::shared("adapters", adapters) };
        adapters.ok().and_then(|adapters| adapters.0.get(index)).map_or(ptr::null(), |texts| texts[text].as_ptr())
    })
}

/// An adapter's name, for realign_device_open; it lives as long as the list. NULL for NULL, and beyond the last.
///
/// # Safety
/// `adapters` is NULL or a list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_adapters_name(adapters: *const RealignAdapters, index: usize) -> *const c_char {
    // SAFETY: as this function's caller says.
    unsafe { of_adapter(adapters, index, 0) }
}

/// An adapter's kind, as realign_device_kind has it; it lives as long as the list. NULL for NULL, and beyond the last.
///
/// # Safety
/// `adapters` is NULL or a list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_adapters_kind(adapters: *const RealignAdapters, index: usize) -> *const c_char {
    // SAFETY: as this function's caller says.
    unsafe { of_adapter(adapters, index, 1) }
}

/// An adapter's backend, as realign_device_backend has it; it lives as long as the list. NULL for NULL, and beyond the last.
///
/// # Safety
/// `adapters` is NULL or a list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_adapters_backend(adapters: *const RealignAdapters, index: usize) -> *const c_char {
    // SAFETY: as this function's caller says.
    unsafe { of_adapter(adapters, index, 2) }
}

/// An adapter's driver and its version; it lives as long as the list. NULL for NULL, and beyond the last.
///
/// # Safety
/// `adapters` is NULL or a list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_adapters_driver(adapters: *const RealignAdapters, index: usize) -> *const c_char {
    // SAFETY: as this function's caller says.
    unsafe { of_adapter(adapters, index, 3) }
}

/// Frees a list of adapters.
///
/// # Safety
/// `adapters` is NULL or a list that is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realign_adapters_free(adapters: *mut RealignAdapters) {
    // SAFETY: as this function's caller says.
    unsafe { output::free(adapters) }
}
