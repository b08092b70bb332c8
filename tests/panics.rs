//! No public function panics on bad input: every kernel's twin under random parameters and buffers, and the functions that take slices.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use realign::ElementType;
use realign::host::{HostCall, HostSlice};
use realign::kernels::{ALL, BindingKind, KernelSpec};

#[path = "panics/functions.rs"]
mod functions;

/// Parameters of the largest block.
const WORDS: usize = 24;

/// Buffers of the kernel that has the most.
const BUFFERS: usize = 8;

/// A buffer: bytes, how far it lies from a word's address, and what fills it.
#[derive(Clone, Debug)]
struct Filled {
    bytes: usize,
    shift: usize,
    fill: Fill,
}

#[derive(Clone, Copy, Debug)]
enum Fill {
    /// 0, 1, 2, …
    Ascending,
    /// The same small number.
    Small(u32),
    /// Some f32.
    Float(f32),
    /// Numbers without order.
    Mixed(u64),
}

impl Filled {
    fn words(&self) -> Vec<u64> {
        let count = (self.bytes + self.shift).div_ceil(8);
        let pair = |i: u32| match self.fill {
            Fill::Ascending => [2 * i, 2 * i + 1],
            Fill::Small(x) => [x; 2],
            Fill::Float(x) => [x.to_bits(); 2],
            Fill::Mixed(seed) => {
                let mixed = (seed ^ u64::from(i)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                [(mixed >> 32) as u32, (mixed >> 11) as u32]
            }
        };
        (0..count as u32).map(|i| bytemuck::cast(pair(i))).collect()
    }
}

#[derive(Clone, Debug)]
struct Call {
    params: Vec<u32>,
    buffers: Vec<Filled>,
    elements: (ElementType, ElementType),
}

fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        10 => 0u32..4,
        3 => 0u32..20,
        1 => prop_oneof![Just(0.5f32), Just(-1.0), Just(f32::NAN), Just(1e-5), Just(f32::INFINITY)].prop_map(f32::to_bits),
        1 => prop_oneof![Just(u32::MAX), Just(1 << 31), Just(1 << 30), Just(65_536), any::<u32>()],
    ]
}

fn fill() -> impl Strategy<Value = Fill> {
    prop_oneof![
        Just(Fill::Ascending),
        (0u32..4).prop_map(Fill::Small),
        prop_oneof![Just(0.0f32), Just(0.25), Just(-1e30), Just(1e-30), Just(f32::NAN), Just(f32::INFINITY)]
            .prop_map(Fill::Float),
        any::<u64>().prop_map(Fill::Mixed),
    ]
}

fn buffer(roomy: bool) -> impl Strategy<Value = Filled> {
    let bytes = if roomy {
        (8192usize..8193).boxed()
    } else {
        prop_oneof![2 => 0usize..4, 3 => 0usize..70, 3 => (0usize..70).prop_map(|n| 16 * n)].boxed()
    };
    let shift = if roomy { Just(0).boxed() } else { prop_oneof![6 => Just(0usize), 1 => 1usize..8].boxed() };
    (bytes, shift, fill()).prop_map(|(bytes, shift, fill)| Filled { bytes, shift, fill })
}

fn element() -> impl Strategy<Value = ElementType> {
    use ElementType::{BF16, F16, F32, F64, Fixed, Q8_0};
    prop_oneof![4 => Just(F32), 1 => Just(F16), 1 => Just(BF16), 1 => Just(F64), 1 => Just(Fixed), 1 => Just(Q8_0)]
}

fn call() -> impl Strategy<Value = Call> {
    let buffers = |roomy| prop::collection::vec(buffer(roomy), BUFFERS);
    let mixed = prop::collection::vec(prop_oneof![buffer(true), buffer(false)], BUFFERS);
    let buffers = prop_oneof![3 => buffers(true).boxed(), 1 => buffers(false).boxed(), 1 => mixed.boxed()];
    (prop::collection::vec(word(), WORDS), buffers, element(), element())
        .prop_map(|(params, buffers, input, output)| Call { params, buffers, elements: (input, output) })
}

/// Runs a twin on copies of the buffers, with a block of `size` bytes; `None` if it panics.
fn run(kernel: &KernelSpec, size: usize, call: &Call) -> Option<realign::Result<()>> {
    let mut memory: Vec<Vec<u64>> = call.buffers.iter().map(Filled::words).collect();
    let bound = kernel.bindings[1..].iter().zip(memory.iter_mut().zip(&call.buffers));
    let buffers = bound.map(|(binding, (words, filled))| {
        let bytes = &mut bytemuck::cast_slice_mut::<u64, u8>(words)[filled.shift..][..filled.bytes];
        match binding.kind {
            BindingKind::ReadWrite => HostSlice::Write(bytes),
            _ => HostSlice::Read(bytes),
        }
    });
    let params = &bytemuck::cast_slice(&call.params)[..size];
    let mut host = HostCall { params, buffers: buffers.collect(), elements: call.elements };
    catch_unwind(AssertUnwindSafe(|| (kernel.twin)(&mut host))).ok()
}

/// Bytes of a kernel's parameter block: the size that its twin does not refuse as such.
fn params_size(kernel: &KernelSpec) -> usize {
    let empty = Filled { bytes: 0, shift: 0, fill: Fill::Ascending };
    let call =
        Call { params: vec![0; WORDS], buffers: vec![empty; BUFFERS], elements: (ElementType::F32, ElementType::F32) };
    let refused = |size: usize| match run(kernel, size, &call) {
        Some(Err(realign::Error::Shape { operand, .. })) => operand == "parameters",
        _ => false,
    };
    let sizes: Vec<usize> = (16..=4 * WORDS).step_by(16).filter(|&size| !refused(size)).collect();
    // A twin that reads no parameters takes any.
    sizes[0]
}

#[test]
fn no_twin_panics() {
    let sizes: Vec<usize> = ALL.iter().map(|kernel| params_size(kernel)).collect();
    let met: RefCell<BTreeMap<&str, [u32; 2]>> = RefCell::default();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner =
        TestRunner::new_with_rng(Config { cases: 300, failure_persistence: None, ..Config::default() }, rng);
    let outcome = runner.run(&call(), |call| {
        for (kernel, &size) in ALL.iter().zip(&sizes) {
            let result = run(kernel, size, &call);
            prop_assert!(result.is_some(), "{} panics", kernel.name);
            met.borrow_mut().entry(kernel.name).or_default()[usize::from(matches!(result, Some(Ok(()))))] += 1;
        }
        Ok(())
    });
    outcome.unwrap();
    // Each one has been refused and has computed: the calls are neither all good nor all bad.
    for (kernel, [refused, done]) in met.into_inner() {
        assert!(refused > 0 && done > 0, "{kernel}: {refused} calls refused, {done} computed");
    }
}

#[test]
fn a_panicking_twin_is_noticed() {
    static BAD: KernelSpec = KernelSpec::new("bad", "", &[], |call| {
        assert!(call.params.is_empty(), "as an index out of range would");
        Ok(())
    });
    let call = Call { params: vec![0; WORDS], buffers: Vec::new(), elements: (ElementType::F32, ElementType::F32) };
    static BOUND: &[realign::kernels::Binding] = &[realign::kernels::Binding::uniform("params")];
    let kernel = KernelSpec::new("bad", "", BOUND, BAD.twin);
    assert!(run(&kernel, 16, &call).is_none() && run(&kernel, 0, &call).is_some());
}
