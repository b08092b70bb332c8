//! Who shares a run: the ranks of an MPI job, where one started this process.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use realign::Error;
use realign::train::Ranks;

use crate::train::Interrupted;

/// The error of a rank that was said already, with the exit code.
#[derive(Debug, thiserror::Error)]
#[error("said")]
pub struct Said(pub u8);

/// By which variable a launcher says that this process is one of several of a job, and how many they are. A script within a job of Slurm has
/// that job's variables, too; only what `srun` started with MPI's own has both of the last two.
fn launched(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, usize)> {
    let count = |name: &'static str| {
        let count = variable(name)?.trim().parse().ok()?;
        (count > 1).then_some((name, count))
    };
    let by_slurm = || variable("PMIX_RANK").and_then(|_| count("SLURM_STEP_NUM_TASKS"));
    count("OMPI_COMM_WORLD_SIZE").or_else(|| count("PMI_SIZE")).or_else(by_slurm)
}

/// The ranks of the MPI job that this process belongs to, or itself alone.
pub fn ranks() -> Result<Ranks> {
    match launched(|name| std::env::var(name).ok()) {
        None => Ok(Ranks::alone()),
        Some((variable, count)) => of_job(variable, count),
    }
}

#[cfg(feature = "mpi")]
fn of_job(variable: &str, count: usize) -> Result<Ranks> {
    let ranks = Ranks::new(crate::train::mpi::mpi_communicator)?;
    if ranks.size() != count {
        bail!(
            "{variable} says that this process is one of {count}, but MPI knows of {}: realign was built with another MPI than the one that \
             started it",
            ranks.size()
        );
    }
    // The others speak of errors alone, of which a rank 0 that is late is one.
    if !ranks.is_root() {
        log::set_max_level(log::LevelFilter::Error);
    }
    Ok(ranks)
}

#[cfg(not(feature = "mpi"))]
fn of_job(variable: &str, count: usize) -> Result<Ranks> {
    bail!(
        "{variable} says that this process is one of {count} of an MPI job, and this build of realign knows no MPI: each would train alone, all \
         into one folder. Build it with --features mpi, or start one process (env -u {variable}, if these are to be runs of their own)"
    )
}

/// Says an error before the ranks part, which may take a while: rank 0 all, the others what is their own.
pub fn say(ranks: &Ranks, error: anyhow::Error) -> anyhow::Error {
    if ranks.are_one() {
        return error;
    }
    let of_another = matches!(error.downcast_ref(), Some(Error::Rank { .. }));
    let (code, text) = crate::failure(&error);
    match ranks.rank() {
        0 => eprintln!("{text}"),
        rank if !of_another && !error.is::<Interrupted>() => eprintln!("rank {rank}: {text}"),
        _ => {}
    }
    Said(code).into()
}

/// Where rank 0 of several is: what a signal makes known.
struct Place {
    step: u64,
    checkpoints: PathBuf,
}

static PLACE: Mutex<Option<Place>> = Mutex::new(None);

/// Notes the step that rank 0 of several is in.
pub fn note(ranks: &Ranks, step: u64, out: &std::path::Path) {
    if !ranks.are_one() && ranks.is_root() {
        let checkpoints = out.join("checkpoints");
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Place { step, checkpoints });
    }
}

/// What is said where a signal comes to rank 0 of several, as it does when another one died: its launcher ends all within a second.
pub fn last_words() -> Option<String> {
    let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
    let Place { step, checkpoints } = place.as_ref()?;
    let names = std::fs::read_dir(checkpoints).into_iter().flatten().filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.starts_with("step-").then_some(name)
    });
    let kept = match names.max() {
        Some(name) => format!("the last whole checkpoint is {}", checkpoints.join(name).display()),
        None => "there is no checkpoint yet".to_owned(),
    };
    Some(format!("asked to stop in step {step}, perhaps since a rank died; {kept}; go on with --resume"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<(&'static str, usize)> {
        launched(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_are_known_and_a_script_within_a_job_is_none() {
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", "4")]), Some(("OMPI_COMM_WORLD_SIZE", 4)));
        assert_eq!(of(&[("PMI_SIZE", "2")]), Some(("PMI_SIZE", 2)));
        assert_eq!(of(&[("PMIX_RANK", "0"), ("SLURM_STEP_NUM_TASKS", "3")]), Some(("SLURM_STEP_NUM_TASKS", 3)));
        for alone in [
            &[][..],
            &[("OMPI_COMM_WORLD_SIZE", "1")],
            &[("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0")],
            &[("SLURM_STEP_NUM_TASKS", "4")],
            &[("PMI_SIZE", "")],
        ] {
            assert_eq!(of(alone), None, "{alone:?}");
        }
    }
}
