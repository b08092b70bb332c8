//! Options of methods that were not asked for.

use anyhow::{Result, bail};
use realign::align::Method;

/// A flag, the option of the library's that it sets, and whether it was given.
pub type Given = (&'static str, &'static str, bool);

/// Refuses an option that none of the methods heeds.
pub fn refuse_unused(methods: &[Method], given: &[Given]) -> Result<()> {
    let heed = |methods: &[Method], option: &str| -> Vec<&'static str> {
        methods.iter().filter(|method| method.options().contains(&option)).map(|method| method.name()).collect()
    };
    let every: Vec<Method> = Method::every().collect();
    for (flag, option, given) in given {
        if *given && heed(methods, option).is_empty() {
            let asked: Vec<&str> = methods.iter().map(|method| method.name()).collect();
            let takers: Vec<String> = heed(&every, option).iter().map(|name| format!("--method {name}")).collect();
            bail!("{flag}: is no option of {}; leave it out, or give {}", asked.join(", "), takers.join(" or "));
        }
    }
    Ok(())
}
