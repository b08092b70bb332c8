//! HLSL against Microsoft's own compiler, DXC, whose library for Linux is called through its COM interfaces.
//!
//! `REALIGN_DXC` is the path of the library in the source package of PyPI's `compushady` 0.17.5. It compiles what wgpu's DX12
//! backend would give it, with the same arguments, and validates the DXIL that comes out.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use std::collections::HashSet;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use naga::back::hlsl::ShaderModel;

use realign_translations::{Sets, for_each, to_hlsl};

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// A GUID as it lies in memory.
#[repr(C)]
struct Guid(u32, u16, u16, [u8; 8]);

const COMPILER_CLASS: Guid = Guid(0x73e2_2d93, 0xe6ce, 0x47f3, [0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0]);
const COMPILER: Guid = Guid(0x228b_4687, 0x5a6a, 0x4730, [0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54]);
const RESULT: Guid = Guid(0x5834_6cda, 0xdde7, 0x4497, [0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59]);
/// UTF-8, as `DxcBuffer` has it.
const UTF8: u32 = 65_001;

type Create = unsafe extern "C" fn(*const Guid, *const Guid, *mut *mut Object) -> i32;

#[repr(C)]
struct Source {
    text: *const u8,
    bytes: usize,
    encoding: u32,
}

/// A COM object: a pointer to its functions, `QueryInterface`, `AddRef` and `Release` and, in this version, two of the destructor.
#[repr(C)]
struct Object(*const [*const c_void; 8]);

/// The first function of an interface's own.
const OWN: usize = 5;

/// Function `index` of a COM object, as type `$f`.
macro_rules! method {
    ($object:expr, $index:expr, $f:ty) => {
        std::mem::transmute::<*const c_void, $f>((*(*$object).0)[$index])
    };
}

struct Dxc(*mut Object);

impl Dxc {
    /// The library that `REALIGN_DXC` names.
    fn load() -> Self {
        let path = std::env::var("REALIGN_DXC").expect("REALIGN_DXC must be the path of libdxcompiler.so");
        let path = CString::new(path).unwrap();
        let mut compiler = std::ptr::null_mut();
        // SAFETY: the names are C strings; the function has the signature that dxcapi.h gives it and fills `compiler`.
        unsafe {
            let library = dlopen(path.as_ptr(), 2);
            assert!(!library.is_null(), "{path:?} cannot be loaded");
            let create = dlsym(library, c"DxcCreateInstance".as_ptr());
            assert!(!create.is_null(), "{path:?} is not DXC");
            let create = std::mem::transmute::<*mut c_void, Create>(create);
            assert_eq!(create(&COMPILER_CLASS, &COMPILER, &mut compiler), 0, "no IDxcCompiler3");
        }
        Dxc(compiler)
    }

    /// Compiles to DXIL; the error is the compiler's.
    fn compile(&self, text: &str, entry: &str, model: ShaderModel) -> Result<(), String> {
        // As wgpu calls it. Characters are 32 bits wide here.
        let profile = format!("cs_{}", model.to_str());
        let words = ["-E", entry, "-T", &profile, "-HV", "2018", "-no-warnings"];
        let words: Vec<Vec<u32>> = words.iter().map(|w| w.chars().map(u32::from).chain([0]).collect()).collect();
        let arguments: Vec<*const u32> = words.iter().map(|w| w.as_ptr()).collect();
        let source = Source { text: text.as_ptr(), bytes: text.len(), encoding: UTF8 };
        let mut result: *mut Object = std::ptr::null_mut();
        // SAFETY: the functions have the places and signatures of dxcapi.h; all that they are given lives until they return.
        unsafe {
            type Compile = unsafe extern "C" fn(
                *mut Object,
                *const Source,
                *const *const u32,
                u32,
                *const c_void,
                *const Guid,
                *mut *mut Object,
            ) -> i32;
            let compile = method!(self.0, OWN, Compile);
            let count = arguments.len() as u32;
            let code = compile(self.0, &source, arguments.as_ptr(), count, std::ptr::null(), &RESULT, &mut result);
            assert_eq!(code, 0, "IDxcCompiler3::Compile");
            let (mut status, mut errors): (i32, *mut Object) = (-1, std::ptr::null_mut());
            method!(result, OWN, unsafe extern "C" fn(*mut Object, *mut i32) -> i32)(result, &mut status);
            method!(result, OWN + 2, unsafe extern "C" fn(*mut Object, *mut *mut Object) -> i32)(result, &mut errors);
            let report = blob_text(errors);
            release(result);
            if status == 0 { Ok(()) } else { Err(report) }
        }
    }
}

/// The text of an `IDxcBlob`, which is released.
unsafe fn blob_text(blob: *mut Object) -> String {
    if blob.is_null() {
        return String::new();
    }
    // SAFETY: the caller's blob is one, and its bytes live as long as it does.
    unsafe {
        let start = method!(blob, OWN, unsafe extern "C" fn(*mut Object) -> *const u8)(blob);
        let bytes = method!(blob, OWN + 1, unsafe extern "C" fn(*mut Object) -> usize)(blob);
        let text = if bytes == 0 {
            String::new()
        } else {
            String::from_utf8_lossy(std::slice::from_raw_parts(start, bytes)).into_owned()
        };
        release(blob);
        text
    }
}

unsafe fn release(object: *mut Object) {
    // SAFETY: the caller's object is one, and is not used again.
    unsafe { method!(object, 2, unsafe extern "C" fn(*mut Object) -> u32)(object) };
}

#[test]
#[ignore = "needs REALIGN_DXC"]
fn every_shader_compiles_with_dxc() {
    let (mut seen, mut texts) = (HashSet::new(), Vec::new());
    // The oldest model that DXC compiles to has the features that we use. It takes a tenth of a second or more for each: the
    // overrides' least and greatest values do.
    for_each(Sets::Ends, |shader, fixed| {
        let (text, entry) = to_hlsl(&fixed, ShaderModel::V6_0)?;
        if seen.insert(text.clone()) {
            texts.push((shader.name.clone(), text, entry));
        }
        Ok(())
    });
    assert!(texts.len() > 400, "{} texts", texts.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let dxc = Dxc::load();
        while let Some((name, text, entry)) = texts.get(next.fetch_add(1, Ordering::Relaxed)) {
            dxc.compile(text, entry, ShaderModel::V6_0).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    };
    // A panic in a thread is one here.
    std::thread::scope(|scope| {
        (0..std::thread::available_parallelism().unwrap().get()).for_each(|_| drop(scope.spawn(work)));
    });
    println!("{} texts compiled", texts.len());
}

#[test]
#[ignore = "needs REALIGN_DXC"]
fn dxc_refuses_broken_hlsl() {
    let dxc = Dxc::load();
    let good = "RWByteAddressBuffer a : register(u0);\n[numthreads(1, 1, 1)] void main() { a.Store(0, 1u); }";
    dxc.compile(good, "main", ShaderModel::V6_0).unwrap();
    let error = dxc.compile(&good.replace("1u", "b"), "main", ShaderModel::V6_0).unwrap_err();
    assert!(error.contains("undeclared identifier 'b'"), "{error}");
    assert!(dxc.compile(good, "other", ShaderModel::V6_0).is_err());
}
