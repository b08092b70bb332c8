//! Devices: selection, adoption of an app's device, loss, limits, threads, reading without blocking, slots.

#[path = "common/mod.rs"]
mod common;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use common::{adapter_name, cloud, devices, gpu};
use realign::align::{Aligner, Target, Unchanged};
use realign::device::{
    AdapterSummary, Device, DeviceKind, DeviceOptions, Dispatch, DownloadSlot, Selection, Tensor, UploadSlot, adapters,
};
use realign::error::Remedy;
use realign::kernels::stats::moments::{self, Summand, Sums};
use realign::kernels::{Binding, KernelSpec, align::apply, bench, stats::normalize};
use realign::{ElementType, Error, Result};

fn request(selection: Selection) -> Result<Device> {
    Device::request_blocking(&DeviceOptions::default().selection(selection))
}

/// The adapter under test, opened by the app itself with default limits and no features.
fn app_device() -> (wgpu::AdapterInfo, wgpu::Device, wgpu::Queue) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let name = adapter_name().to_lowercase();
    let adapter = found.into_iter().find(|a| a.get_info().name.to_lowercase().contains(&name)).unwrap();
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    (adapter.get_info(), device, queue)
}

fn adopted() -> Device {
    let (info, device, queue) = app_device();
    Device::from_wgpu(&info, device, queue).unwrap()
}

fn sums(device: &Device, data: &[f32], d: usize) -> Result<Sums> {
    let summand = Summand::unit_rows(device, d)?;
    let buffer = device.buffer("sums", summand.sums_bytes())?;
    let tensor = Tensor::from_f32(device, data, d)?;
    let mut recorder = device.recorder();
    moments::record(&mut recorder, &summand, &tensor, tensor.rows(), (&buffer, 0))?;
    recorder.submit()?;
    Sums::from_bytes(&device.read_blocking(&buffer)?, &summand)
}

#[test]
fn selections_have_names() {
    let parse = |text: &str| text.parse::<Selection>().unwrap();
    assert_eq!(parse("auto"), Selection::Auto);
    assert_eq!(parse("gpu"), Selection::Gpu);
    assert_eq!((parse("host"), parse("cpu")), (Selection::Host, Selection::Host));
    assert_eq!(parse("3"), Selection::Index(3));
    assert_eq!(parse("GeForce RTX"), Selection::Named("GeForce RTX".into()));
    for text in ["auto", "gpu", "host", "3", "llvmpipe"] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn an_unknown_name_lists_what_there_is() {
    for selection in [Selection::Named("no such adapter".into()), Selection::Index(999)] {
        let Err(Error::NoAdapter(message)) = request(selection) else { panic!("an adapter was found") };
        for AdapterSummary { name, .. } in adapters(None) {
            assert!(message.contains(&name), "{name} is missing: {message}");
        }
        assert_eq!(message.remedy, Some(Remedy::HostEngine), "{message}");
    }
}

#[test]
fn a_software_driver_comes_only_by_name() {
    let real = adapters(None).iter().any(|a| a.kind != DeviceKind::Software);
    match (request(Selection::Gpu), real) {
        (Ok(device), true) => assert!(!matches!(device.capabilities().kind, DeviceKind::Software | DeviceKind::Host)),
        (Err(Error::NoAdapter(message)), false) => assert!(message.contains("by name"), "{message}"),
        (result, _) => panic!("{result:?} where a GPU is there: {real}"),
    }
    let auto = request(Selection::Auto).unwrap();
    assert_eq!(auto.capabilities().kind == DeviceKind::Host, !real, "{auto:?}");
    assert_eq!(request(Selection::Host).unwrap().capabilities().kind, DeviceKind::Host);
}

#[test]
fn an_index_counts_the_adapters() {
    for (index, adapter) in adapters(None).iter().enumerate() {
        // An adapter may be too weak for the kernels, or its driver may refuse; then it says so.
        match request(Selection::Index(index)) {
            Ok(device) => assert_eq!(device.name(), adapter.name),
            Err(error) => assert!(matches!(error, Error::Unsupported { .. }), "{error}"),
        }
    }
}

#[test]
fn a_number_that_no_adapter_has_is_looked_for_in_names() {
    let found = adapters(None);
    let numbers = |name: &str| -> Vec<usize> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    let named = found.iter().flat_map(|a| numbers(&a.name)).find(|number| *number >= found.len());
    // llvmpipe's name has the version of LLVM and the width of its vectors.
    let Some(number) = named else { return assert!(found.iter().all(|a| !a.name.contains("llvmpipe")), "{found:?}") };
    let device = request(Selection::Index(number)).unwrap();
    assert!(device.name().contains(&number.to_string()), "{number}: {}", device.name());
}

#[test]
fn an_adopted_device_gives_the_same_bits() {
    let (n, d) = (333, 50);
    let data = cloud(2, n, d);
    let device = adopted();
    assert!(!device.capabilities().mapped_storage && !device.capabilities().subgroup_teams);
    assert_eq!(sums(&device, &data, d).unwrap(), sums(&Device::host(), &data, d).unwrap());
}

#[test]
fn a_device_below_our_limits_is_refused() {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let found = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let name = adapter_name().to_lowercase();
    let adapter = found.into_iter().find(|a| a.get_info().name.to_lowercase().contains(&name)).unwrap();
    let required_limits = wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::default() };
    let descriptor = wgpu::DeviceDescriptor { required_limits, ..Default::default() };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
    let error = Device::from_wgpu(&adapter.get_info(), device, queue).unwrap_err();
    assert!(error.to_string().contains("storage buffers per stage: 4, needed 8"), "{error}");
}

#[test]
fn an_apps_error_callback_is_kept() {
    let (info, device, queue) = app_device();
    let errors = Arc::new(AtomicUsize::new(0));
    let count = errors.clone();
    device.on_uncaptured_error(Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    let ours = Device::from_wgpu(&info, device.clone(), queue).unwrap();
    sums(&ours, &cloud(1, 9, 5), 5).unwrap();
    // Our own errors are values...
    assert!(matches!(ours.buffer("far too large", 1 << 40), Err(Error::Unsupported { .. })));
    assert_eq!(errors.load(Ordering::SeqCst), 0);
    // ... and the app's still reach the app.
    let _ = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE | wgpu::BufferUsages::INDEX,
        mapped_at_creation: false,
    });
    assert_eq!(errors.load(Ordering::SeqCst), 1);
}

#[test]
fn a_buffer_that_cannot_fit_is_an_error_with_its_name() {
    for device in devices() {
        let error = device.buffer("the whole data set", 1 << 60).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. } | Error::OutOfMemory { .. }), "{error:?}");
        assert!(error.to_string().contains("the whole data set"), "{error}");
        let error = Tensor::new(&device, usize::MAX / 8, 1280, ElementType::F32).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. } | Error::OutOfMemory { .. }), "{error:?}");
        // The device is as good as before.
        sums(&device, &cloud(1, 9, 5), 5).unwrap();
    }
}

/// Everything that touches a lost device is an error, in time, and never a panic.
fn use_a_lost_device(device: &Device) {
    let tensor = Tensor::from_f32(device, &[1.0; 80], 8).unwrap();
    let output = Tensor::new(device, 10, 8, ElementType::F32).unwrap();
    let status = apply::status_buffer(device).unwrap();
    let mut upload = UploadSlot::new(device, 4, 8, ElementType::F32).unwrap();
    let download = DownloadSlot::new(device, 4, 8, ElementType::F32).unwrap();
    device.wgpu().unwrap().0.destroy();
    let start = Instant::now();
    let lost = |what: &str, error: Option<Error>| match error {
        Some(Error::DeviceLost { .. }) => (),
        other => panic!("{what}: {other:?}"),
    };
    lost("read", device.read_blocking(output.buffer()).err());
    lost("tensor", output.to_f32_blocking(device).err());
    let mut recorder = device.recorder().timed();
    normalize::record(&mut recorder, &tensor, &output, 10, &status).unwrap();
    lost("submit", recorder.submit().err());
    lost("write", device.write(&status, &[0; 8]).err());
    lost("allocation", device.buffer("after", 64).err());
    lost("poll", device.poll().err());
    lost("upload", upload.fill(|_| Ok(())).err());
    lost("download", download.read(|_| Ok(())).err());
    lost("future", pollster::block_on(device.read(output.buffer())).err());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_lost_device_is_an_error_and_a_new_one_works() {
    use_a_lost_device(&gpu());
    use_a_lost_device(&adopted());
    let data = cloud(3, 20, 6);
    assert_eq!(sums(&gpu(), &data, 6).unwrap(), sums(&Device::host(), &data, 6).unwrap());
}

#[test]
fn a_device_lost_with_work_in_flight() {
    let device = gpu();
    let tensor = Tensor::from_f32(&device, &cloud(1, 2000, 64), 64).unwrap();
    let status = apply::status_buffer(&device).unwrap();
    let mut recorder = device.recorder();
    for _ in 0..20 {
        let output = Tensor::new(&device, 2000, 64, ElementType::F32).unwrap();
        normalize::record(&mut recorder, &tensor, &output, 2000, &status).unwrap();
    }
    let submission = recorder.submit().unwrap();
    device.wgpu().unwrap().0.destroy();
    // What was submitted may still complete; what comes after may not.
    let _ = submission.wait();
    assert!(matches!(device.read_blocking(tensor.buffer()), Err(Error::DeviceLost { .. })));
}

#[test]
fn two_devices_and_two_threads() {
    let (n, d) = (500, 33);
    let data = cloud(8, n, d);
    let want = sums(&Device::host(), &data, d).unwrap();
    let (first, second) = (gpu(), gpu());
    std::thread::scope(|scope| {
        for device in [&first, &first, &second, &second] {
            let (data, want) = (&data, &want);
            scope.spawn(move || {
                for _ in 0..10 {
                    assert_eq!(&sums(device, data, d).unwrap(), want);
                }
            });
        }
    });
    // Buffers do not cross.
    let stranger = Tensor::from_f32(&first, &data, d).unwrap();
    let summand = Summand::unit_rows(&second, d).unwrap();
    let buffer = second.buffer("sums", summand.sums_bytes()).unwrap();
    let refused = moments::record(&mut second.recorder(), &summand, &stranger, n, (&buffer, 0));
    assert!(matches!(refused, Err(Error::Shape { .. })));
    assert!(matches!(second.read_blocking(stranger.buffer()), Err(Error::Shape { .. })), "read of another's buffer");
    assert!(matches!(second.write(stranger.buffer(), &[0; 4]), Err(Error::Shape { .. })), "write to another's buffer");
    let mut recorder = second.recorder();
    recorder.clear(stranger.buffer());
    assert!(recorder.submit().is_err(), "clear of another's buffer");
}

struct Flag(AtomicUsize);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_read_makes_progress_when_the_device_is_polled() {
    for device in [Device::host(), gpu(), adopted()] {
        let data = cloud(4, 40, 10);
        let tensor = Tensor::from_f32(&device, &data, 10).unwrap();
        let flag = Arc::new(Flag(AtomicUsize::new(0)));
        let waker = Waker::from(flag.clone());
        let mut context = Context::from_waker(&waker);
        let mut future = std::pin::pin!(tensor.to_f32(&device));
        let start = Instant::now();
        let mut pending = false;
        let rows = loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(rows) => break rows.unwrap(),
                Poll::Pending => pending = true,
            }
            device.poll().unwrap();
            assert!(start.elapsed() < Duration::from_secs(10), "{}: no progress", device.name());
        };
        assert_eq!(rows, data);
        assert_eq!(pending, flag.0.load(Ordering::SeqCst) > 0, "{}: a pending future wakes its task", device.name());
    }
}

#[test]
fn timed_recordings_give_every_duration() {
    for device in devices() {
        // More than one command buffer holds.
        for count in [1, 3, 150] {
            let tensor = Tensor::from_f32(&device, &cloud(1, 300, 64), 64).unwrap();
            let output = Tensor::new(&device, 300, 64, ElementType::F32).unwrap();
            let status = apply::status_buffer(&device).unwrap();
            let mut recorder = device.recorder().timed();
            for _ in 0..count {
                normalize::record(&mut recorder, &tensor, &output, 300, &status).unwrap();
            }
            let durations = recorder.submit().unwrap().durations_blocking().unwrap();
            let known = device.capabilities().timestamps || device.capabilities().kind == DeviceKind::Host;
            assert_eq!(durations.len(), if known { count } else { 0 }, "{}", device.name());
            for (name, duration) in durations {
                assert_eq!(name, "normalize");
                assert!(duration > Duration::ZERO && duration < Duration::from_secs(5), "{duration:?}");
            }
        }
    }
}

#[test]
fn slots_carry_rows_there_and_back() {
    let unmapped = gpu().with_capabilities(|c| c.mapped_storage = false).unwrap();
    for device in [Device::host(), gpu(), unmapped, adopted()] {
        let (n, d) = (50, 8);
        let mut uploads = [0, 1].map(|_| UploadSlot::new(&device, n, d, ElementType::F32).unwrap());
        let downloads = [0, 1].map(|_| DownloadSlot::new(&device, n, d, ElementType::F32).unwrap());
        let status = apply::status_buffer(&device).unwrap();
        // Slots are used again while the device may still work on the other one.
        for round in 0..6 {
            let data = cloud(round, n, d);
            let (upload, download) = (&mut uploads[round as usize % 2], &downloads[round as usize % 2]);
            upload
                .fill(|bytes| {
                    bytes.copy_from_slice(bytemuck::cast_slice(&data));
                    Ok(())
                })
                .unwrap();
            let mut recorder = device.recorder();
            upload.record(&mut recorder);
            normalize::record(&mut recorder, upload.tensor(), download.tensor(), n, &status).unwrap();
            download.record(&mut recorder);
            recorder.submit().unwrap();
            let got = download.read(|bytes| Ok(bytemuck::pod_collect_to_vec::<u8, f32>(bytes))).unwrap();
            let tensor = Tensor::from_f32(&device, &data, d).unwrap();
            let output = Tensor::new(&device, n, d, ElementType::F32).unwrap();
            let mut recorder = device.recorder();
            normalize::record(&mut recorder, &tensor, &output, n, &status).unwrap();
            recorder.submit().unwrap();
            assert_eq!(got, output.to_f32_blocking(&device).unwrap(), "{} round {round}", device.name());
        }
        // An error of the filler is handed through, and the slot is as good as before.
        let failed = uploads[0].fill(|_| Err::<(), _>(Error::argument("test", "no data")));
        assert!(matches!(failed, Err(Error::Argument { .. })));
        uploads[0].fill(|_| Ok(())).unwrap();
    }
}

#[test]
fn shapes_of_kernels_are_checked() {
    let refused = |change: fn(&mut realign::device::Capabilities)| {
        let error = gpu().with_capabilities(change).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    };
    refused(|c| c.group = 0);
    refused(|c| c.group = 512);
    refused(|c| c.lanes = 0);
    refused(|c| (c.group, c.lanes) = (64, 48));
    refused(|c| (c.group, c.lanes) = (256, 1));
    refused(|c| (c.lanes, c.subgroup_teams) = (2, true));
    refused(|c| c.max_binding = u64::MAX);
    assert!(adopted().with_capabilities(|c| c.int64 = true).is_err());
    let device = gpu();
    let _buffer = device.buffer("made", 16).unwrap();
    assert!(device.with_capabilities(|c| c.int64 = false).is_err(), "a device in use");
}

/// What wgpu objects to keeps the whole recording from running, however many submissions it takes.
#[test]
fn a_kernel_that_does_not_compile_keeps_the_recording_from_running() {
    static BROKEN: KernelSpec = KernelSpec::new(
        "broken",
        "@compute @workgroup_size(1) fn main() { nonsense(); }",
        &[Binding::uniform("params"), Binding::read_write(1, "values")],
        |_| Ok(()),
    );
    let device = gpu();
    let from = device.buffer_from("ones", &[1; 16]).unwrap();
    for copies in [1, 63, 64, 200] {
        let to = device.buffer("zeros", 16).unwrap();
        let mut recorder = device.recorder();
        for _ in 0..copies {
            bench::copy::record(&mut recorder, &from, &to, 16).unwrap();
        }
        recorder.dispatch(Dispatch::new(&BROKEN).params(&[0u32; 4]).buffers([&to])).unwrap();
        let error = recorder.submit().unwrap_err().to_string();
        assert!(error.contains("broken"), "{error}");
        assert_eq!(device.read_blocking(&to).unwrap(), [0; 16], "{copies} copies ran");
    }
}

/// A tensor of fewer rows than its memory has is a tensor of so many rows.
/// Kept when the device goes, taken by the next one, and left aside where it is damaged.
#[test]
fn pipelines_are_kept_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("new").join("pipelines");
    let data = cloud(5, 37, 24);
    let run = || {
        let options =
            DeviceOptions::default().selection(Selection::Named(adapter_name())).pipeline_cache(Some(at.clone()));
        let device = Device::request_blocking(&options).unwrap();
        assert_eq!(sums(&device, &data, 24).unwrap(), sums(&Device::host(), &data, 24).unwrap());
        device.backend()
    };
    let backend = run();
    let files = || -> Vec<_> { std::fs::read_dir(&at).into_iter().flatten().map(|f| f.unwrap().path()).collect() };
    if backend != "vulkan" {
        assert!(files().is_empty());
        return;
    }
    let [file] = &files()[..] else { panic!("{:?}", files()) };
    let whole = std::fs::read(file).unwrap();
    assert!(whole.len() > 100);
    run();
    for damaged in [&whole[..whole.len() / 2], b"", &[whole.as_slice(), b"more"].concat()] {
        std::fs::write(file, damaged).unwrap();
        run();
        assert_eq!(files().len(), 1);
        assert!(std::fs::read(file).unwrap().starts_with(&whole[..8]));
        assert_ne!(std::fs::read(file).unwrap(), damaged);
    }
}

/// What was compiled for the shape of before is not taken for the one of now.
#[test]
fn a_device_that_was_used_takes_another_shape() {
    let (n, d) = (37, 24);
    let data = cloud(5, n, d);
    let want = sums(&Device::host(), &data, d).unwrap();
    let mut device = gpu();
    let mut pipelines = 0;
    for (group, lanes) in [(64, 1), (64, 32), (128, 32), (64, 1)] {
        device = device.with_capabilities(|c| (c.group, c.lanes, c.subgroup_teams) = (group, lanes, false)).unwrap();
        assert_eq!(sums(&device, &data, d).unwrap(), want, "groups of {group}, teams of {lanes}");
        let (before, now) = (pipelines, device.cached().0);
        assert!(now > before, "groups of {group}, teams of {lanes}: {now} pipelines after {before}");
        pipelines = now;
    }
}

#[test]
fn a_copy_takes_the_rows_of_its_tensors() {
    for device in devices() {
        let make = |value: f32| Tensor::from_f32(&device, &[value; 5 * 6], 6).unwrap();
        let (from, to) = (make(1.0), make(2.0));
        let mut recorder = device.recorder();
        recorder.copy(&from.first_rows(2).unwrap(), &to.first_rows(4).unwrap()).unwrap();
        recorder.submit().unwrap();
        let want = [[1.0; 2 * 6].as_slice(), &[2.0; 3 * 6]].concat();
        assert_eq!(to.to_f32_blocking(&device).unwrap(), want, "{}", device.name());
        let mut recorder = device.recorder();
        assert!(recorder.copy(&from, &to.first_rows(4).unwrap()).is_err());
    }
}

/// The operator that changes nothing writes the rows that it is asked for, as all others do.
#[test]
fn no_alignment_copies_so_many_rows() {
    for device in devices() {
        let make = |value: f32| Tensor::from_f32(&device, &[value; 5 * 6], 6).unwrap();
        let (input, output, status) = (make(1.0), make(2.0), apply::status_buffer(&device).unwrap());
        let operator = Unchanged { width: 6 }.on(&device).unwrap();
        let mut recorder = device.recorder();
        let target = Target { output: &output, status: &status, first_row: 0 };
        operator.record(&mut recorder, &input, 2, target).unwrap();
        recorder.submit().unwrap();
        let want = [[1.0; 2 * 6].as_slice(), &[2.0; 3 * 6]].concat();
        assert_eq!(output.to_f32_blocking(&device).unwrap(), want, "{}", device.name());
    }
}

#[test]
fn parameters_that_are_no_whole_vectors_are_refused() {
    for device in devices() {
        let buffer = device.buffer("values", 16).unwrap();
        let mut dispatch = Dispatch::new(&bench::copy::SPEC).params(&[1u32; 3]).buffers([&buffer, &buffer]);
        assert_eq!(dispatch.params.len(), 16);
        dispatch.params.pop();
        let error = device.recorder().dispatch(dispatch).unwrap_err().to_string();
        assert!(error.contains("multiple of 16"), "{error}");
    }
}
