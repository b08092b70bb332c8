//! The machine that a device is in, for results files.

/// The model of this machine's CPU, as its system calls it; `None` where it does not say.
pub(super) fn cpu() -> Option<String> {
    let name = if cfg!(target_os = "macos") {
        let output = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
        String::from_utf8(output.stdout).ok()?
    } else if cfg!(windows) {
        std::env::var("PROCESSOR_IDENTIFIER").ok()?
    } else {
        of_cpuinfo(&std::fs::read_to_string("/proc/cpuinfo").ok()?)?
    };
    Some(name.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|name| !name.is_empty())
}

/// The first name in Linux' `/proc/cpuinfo`, whose keys differ between processors: x86, MIPS, POWER, RISC-V, ARM.
fn of_cpuinfo(text: &str) -> Option<String> {
    let of = |key: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(k, v)| (k.trim(), v.trim())).find(|(k, v)| *k == key && !v.is_empty()).map(|(_, v)| v.to_owned())
    };
    ["model name", "cpu model", "cpu", "uarch", "Hardware", "Model"].iter().find_map(|key| of(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_the_name_that_its_system_gives() {
        let x86 =
            "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 1\nmodel name\t: AMD EPYC 7763\nprocessor\t: 1\n";
        assert_eq!(of_cpuinfo(x86).as_deref(), Some("AMD EPYC 7763"));
        let arm = "processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2835\nModel\t\t: Raspberry Pi 4\n";
        assert_eq!(of_cpuinfo(arm).as_deref(), Some("BCM2835"));
        assert_eq!(of_cpuinfo("processor\t: 0\nmodel name\t:\n"), None);
    }
}
