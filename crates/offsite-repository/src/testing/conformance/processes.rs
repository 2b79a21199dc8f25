//! What several processes do to one place.

use tokio::task::spawn_blocking;

use super::content::noise;
use super::context::{Checked, Context, Stop, ensure};
use super::racers::{Racer, RacerProcess, described};
use crate::RepositoryExt;

fn racers(context: &Context) -> Checked<RacerProcess> {
    context.options.processes.clone().ok_or_else(|| {
        Stop::LeftOut("the suite was not told how to start another process (Options::processes)".to_owned())
    })
}

/// A conversation with other processes, on a thread for blocking work.
async fn converse<T: Send + 'static>(talk: impl FnOnce() -> Result<T, String> + Send + 'static) -> Checked<T> {
    spawn_blocking(talk).await?.map_err(Stop::Fail)
}

/// Of many processes that finish one name at a time exactly one wins, each is told truly, and all see the winner's content.
pub(super) async fn race_processes(context: Context) -> Checked {
    let racers = racers(&context)?;
    let count = context.options.writers.clamp(2, 5);
    let mut processes: Vec<Racer> =
        converse(move || (0..count).map(|_| racers.start()).collect::<Result<_, _>>()).await?;
    for race in 0..context.options.races {
        let key = context.key(&format!("race/deep/{race}"))?;
        let contents: Vec<_> = (0..count).map(|racer| (race * 1_000 + racer) as u64 + 700).collect();
        let length = |racer: usize| 3_000 + racer;
        let (told, seeds) = (key.clone(), contents.clone());
        let (back, winners) = converse(move || {
            let mut ready = Vec::new();
            for (racer, process) in processes.iter_mut().enumerate() {
                process.tell(&format!("write {} {} {told}", seeds[racer], length(racer)))?;
            }
            for process in &mut processes {
                ready.push(process.hear()? == "ready");
            }
            // All are told before the first is listened to: they finish at the same time.
            for (process, ready) in processes.iter_mut().zip(&ready) {
                if *ready {
                    process.tell("finish")?;
                }
            }
            let mut winners = Vec::new();
            for (racer, process) in processes.iter_mut().enumerate().filter(|(racer, _)| ready[*racer]) {
                if process.hear()? == "won" {
                    winners.push(racer);
                }
            }
            Ok((processes, winners))
        })
        .await?;
        processes = back;
        ensure!(
            winners.len() == 1,
            "{} of {count} processes that wrote one name were told that they won",
            winners.len()
        );
        let content = noise(contents[winners[0]], length(winners[0]));
        context.expect_content(&key, &content).await?;
        let (told, wanted) = (key.clone(), described(&content));
        processes = converse(move || {
            for process in &mut processes {
                let seen = process.ask(&format!("read {told}"))?;
                if seen != wanted {
                    return Err(format!("another process reads {told} as {seen:?} instead of {wanted:?}"));
                }
            }
            Ok(processes)
        })
        .await?;
    }
    Ok(())
}

/// A process that is killed while it writes leaves no object, and its name is free; one at work survives others' sweeps.
pub(super) async fn killed_process(context: Context) -> Checked {
    let racers = racers(&context)?;
    let (killed, alive) = (context.key("folder/killed")?, context.key("folder/alive")?);
    let length = context.options.large_object_bytes;
    let (first, second) = (killed.clone(), alive.clone());
    let (doomed, other) = converse(move || {
        let (mut doomed, mut other) = (racers.start()?, racers.start()?);
        for (process, key) in [(&mut doomed, &first), (&mut other, &second)] {
            let answer = process.ask(&format!("write 800 {length} {key}"))?;
            if answer != "ready" {
                return Err(format!("in another process: the name {key} is {answer}"));
            }
        }
        Ok((doomed, other))
    })
    .await?;
    context.expect_absent(&killed).await?;
    context.repository.sweep().await?;
    converse(move || doomed.kill()).await?;
    context.expect_absent(&killed).await?;
    context.repository.sweep().await?;
    context.expect_absent(&killed).await?;
    let mut other = other;
    let answer = converse(move || other.ask("finish")).await?;
    ensure!(answer == "won", "a process was told that it {answer} a name that nobody else wrote");
    context.expect_content(&alive, &noise(800, length)).await?;
    let anew = noise(801, 500);
    context.repository.put(&killed, anew.clone()).await?;
    context.expect_content(&killed, &anew).await
}
