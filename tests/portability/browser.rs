//! Chromium runs the shaders through WebGPU: Tint, the second compiler of WGSL, and Dawn's checks of the default limits.
//!
//! All that the browser does is in one page, which is left in `target/portability.html` to be opened in any other.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use naga::valid::Capabilities;
use serde_json::{Value, json};

use crate::dump::shader_data;
use crate::runs;
use crate::shaders::{Shader, all, workgroup_bytes};

/// The most that the whole page may take: several times what two cores need.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Headless, with a WebGPU adapter on the CPU.
const FLAGS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu-sandbox",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
    "--no-first-run",
    "--disable-background-networking",
];

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_browser(url: &str, profile: &Path) -> Running {
    let named = std::env::var("REALIGN_CHROMIUM").ok().filter(|path| !path.is_empty());
    let names = named.as_deref().map_or(vec!["chromium", "chromium-browser", "google-chrome"], |n| vec![n]);
    let start = |name: &&str| {
        Command::new(name)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    };
    Running(
        names.iter().find_map(start).unwrap_or_else(|| panic!("none of {names:?} starts; apt-get install chromium")),
    )
}

/// The body of a request that posts one; other requests are answered with the page.
fn answer(mut stream: TcpStream, page: &str) -> std::io::Result<Option<String>> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut first, mut length) = (String::new(), String::new(), 0u64);
    while reader.read_line(&mut line)? > 0 && line.trim() != "" {
        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap_or(0);
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        line.clear();
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    let (status, text) = if first.starts_with("GET / ") { ("200 OK", page) } else { ("204 No Content", "") };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n", text.len());
    stream.write_all(format!("{head}Connection: close\r\n\r\n{text}").as_bytes())?;
    Ok(first.starts_with("POST /verdict ").then_some(body))
}

/// What the page says of `data` in the browser.
fn verdict(data: &Value) -> Value {
    // In a script element, only a closing tag ends the text.
    let data = data.to_string().replace("</", "<\\/");
    let page = include_str!("page.html").replacen("DATA", &data, 1);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/portability.html");
    std::fs::write(&kept, &page).unwrap_or_else(|e| panic!("{}: {e}", kept.display()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let profile = tempfile::tempdir().unwrap();
    let mut browser = start_browser(&format!("http://{}/", listener.local_addr().unwrap()), profile.path());
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Ok(Some(body)) = answer(stream, &page) {
                    return serde_json::from_str(&body).unwrap();
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        if let Ok(Some(status)) = browser.0.try_wait() {
            panic!("the browser ended, {status}, before its verdict");
        }
    }
    panic!("no verdict after {} s", PATIENCE.as_secs());
}

/// WGSL of the web has no 64-bit integers: those shaders, and no others, are left out.
fn without_64_bits() -> (Vec<Shader>, BTreeSet<&'static str>) {
    let (out, kept): (Vec<_>, Vec<_>) =
        all().into_iter().partition(|s| s.features.contains(Capabilities::SHADER_INT64));
    (kept, out.iter().map(|s| s.kernel.name).collect())
}

/// A shader, and how many pipelines are made of it, with its overrides' least and greatest values: SwiftShader takes a second for each,
/// so that only a kernel's first shader gets them, the others are compiled by Tint alone. `REALIGN_ALL_PIPELINES` makes them of all.
fn ends(shader: &Shader, first: bool) -> (Value, usize) {
    let mut data = shader_data(shader);
    let mut kept = Vec::new();
    // Tint's own; a pipeline of more workgroup memory than the default limit is refused.
    let fits = workgroup_bytes(&shader.module, &shader.info) <= 16_384;
    if let Some(sets) = data["constants"]
        .as_array()
        .filter(|_| fits)
        .filter(|_| first || std::env::var_os("REALIGN_ALL_PIPELINES").is_some_and(|v| !v.is_empty()))
    {
        kept.extend(sets.first().into_iter().chain(sets.get(1..).and_then(<[Value]>::last)).cloned());
    }
    let count = kept.len();
    data["constants"] = Value::Array(kept);
    (data, count)
}

#[test]
#[ignore = "needs Chromium"]
fn every_shader_compiles_in_chromium_and_the_operator_runs() {
    let (shaders, excluded) = without_64_bits();
    // Each has a form of 32 bits, which is among those that are compiled.
    let of_angles = ["angle columns", "angle cross", "jacobi", "jacobi norms"];
    let others = ["adamw", "adamw 8 bit", "c3", "dropout", "moment_columns", "moment_weights", "moments"];
    assert_eq!(excluded, of_angles.into_iter().chain(others).collect());
    assert!(excluded.iter().all(|name| shaders.iter().any(|s| s.kernel.name == *name)));
    let mut seen = BTreeSet::new();
    let each = shaders.iter().map(|shader| ends(shader, seen.insert(shader.kernel.name)));
    let (compiled, pipelines): (Vec<Value>, Vec<usize>) = each.unzip();
    assert!(pipelines.iter().filter(|count| **count > 0).count() >= 50);
    let data = json!({ "shaders": compiled, "runs": runs::all() });
    let verdict = verdict(&data);
    println!("{}; {}; seconds {}", verdict["adapter"], verdict["browser"], verdict["seconds"]);
    assert_eq!(verdict["failures"], json!([]));
    assert_eq!(verdict["skipped"], json!([]), "Chromium's SwiftShader has subgroups");
    assert_eq!(verdict["shaders"], json!(shaders.len()));
    assert_eq!(verdict["pipelines"], json!(pipelines.iter().sum::<usize>()));
    assert_eq!(verdict["runs"], json!(runs::all().len()));
}

/// The page finds what is wrong: a shader that is none, a kernel that does something else, an expectation that is another.
#[test]
#[ignore = "needs Chromium"]
fn what_is_wrong_is_found_in_chromium() {
    let mut shader = shader_data(&all()[0]);
    shader["source"] = json!("@compute @workgroup_size(1) fn main() { let x: u32 = 1.5f; }");
    let good = runs::all();
    let (mut runs, mut count) = (Vec::new(), 0);
    for run in &good {
        for wrong in runs::spoilt(run) {
            count += 1;
            runs.push(wrong);
        }
    }
    assert!(count >= good.len());
    let verdict = verdict(&json!({ "shaders": [shader], "runs": runs }));
    assert_eq!((&verdict["shaders"], &verdict["runs"]), (&json!(0), &json!(0)), "{verdict:#}");
    assert_eq!(verdict["failures"].as_array().map(Vec::len), Some(1 + count));
}
