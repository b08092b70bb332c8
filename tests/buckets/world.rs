//! The server, its bucket and files to put there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use realign::io::{Dataset, OpenOptions, write_npy};

use crate::proxy::Proxy;

const KEY: &str = "a-key";
const SECRET: &str = "a-secret";

/// All that a test meets.
pub struct World {
    pub proxy: Proxy,
    root: PathBuf,
    server: Child,
    /// The server lives for as long as this is open.
    _stdin: Option<ChildStdin>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl World {
    /// Starts the server, and tells clients of it by the environment. To be called before there are threads.
    #[expect(unsafe_code, reason = "the environment is how clients are told")]
    pub fn start() -> World {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("buckets");
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("bucket")).unwrap();
        let program = std::env::var_os("REALIGN_TEST_S3_SERVER").map(PathBuf::from);
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/s3_server/debug/realign-s3-server");
        let program = program.unwrap_or(built);
        let remedy =
            "build it: cargo build --locked --manifest-path tools/s3_server/Cargo.toml --target-dir target/s3_server";
        assert!(program.is_file(), "{}: no S3 server; {remedy}", program.display());
        let mut command = Command::new(program);
        command.args([root.as_os_str(), KEY.as_ref(), SECRET.as_ref()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut address = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let (listener, port) = Proxy::listen();
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}")),
        ] {
            // SAFETY: no other thread is there yet.
            unsafe { std::env::set_var(name, value) };
        }
        let proxy = Proxy::start(listener, address.trim().parse().unwrap());
        let stdin = server.stdin.take();
        World { proxy, root, server, _stdin: stdin }
    }

    /// Where the bucket's objects are on the disk.
    pub fn at(&self, key: &str) -> PathBuf {
        self.root.join("bucket").join(key)
    }

    /// Puts an object into the bucket, behind the proxy's back, and gives its URL.
    pub fn put(&self, key: &str, bytes: &[u8]) -> PathBuf {
        let path = self.at(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        url(key)
    }

    /// Puts rows there as an npy file.
    pub fn put_rows(&self, key: &str, rows: usize, width: usize, seed: u32) -> PathBuf {
        let path = self.at(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_npy(&path, &numbers(rows * width, seed), width, true).unwrap();
        url(key)
    }

    /// What lies in the bucket's folder under a prefix, uploads that are no objects included.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { walk(&entry.path(), out) } else { out.push(entry.path()) }
            }
        }
        let (bucket, mut all) = (self.root.join("bucket"), Vec::new());
        walk(&bucket, &mut all);
        let key = |path: &PathBuf| path.strip_prefix(&bucket).unwrap().to_string_lossy().replace('\\', "/");
        let mut keys: Vec<String> = all.iter().map(key).filter(|key| key.starts_with(prefix)).collect();
        keys.sort();
        keys
    }

    /// Parts of uploads that were neither completed nor taken back: the server keeps them beside its buckets.
    pub fn unfinished(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.root).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload")).collect()
    }
}

/// The URL of a key.
pub fn url(key: &str) -> PathBuf {
    format!("s3://bucket/{key}").into()
}

/// Numbers that are no zeros and repeat nothing soon.
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 + 0.01
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A data set of one or several names.
pub fn open(inputs: &[PathBuf]) -> realign::Result<Dataset> {
    Dataset::open(inputs, &OpenOptions::default())
}

/// All rows of a set, read in blocks of some rows.
pub fn read_all(set: &Dataset, block: usize) -> realign::Result<Vec<u8>> {
    let row = set.width() * set.element_type().bytes();
    let mut all = Vec::new();
    for (number, shard) in set.shards().iter().enumerate() {
        let mut reader = set.reader(number)?;
        while reader.position() < shard.rows() {
            let n = block.min((shard.rows() - reader.position()) as usize);
            let start = all.len();
            all.resize(start + n * row, 0);
            reader.read(n, &mut all[start..])?;
        }
    }
    Ok(all)
}
