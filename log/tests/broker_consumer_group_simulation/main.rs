//! Seeded simulations of groups of the consumer protocol (KIP-848): members of it and of the classic
//! protocol, eager or cooperative, in one group, static ones among them, that join, leave, crash and
//! come back; requests that arrive twice and answers that get lost; writes that are late or fail;
//! topics that come, go and grow; a coordinator that restarts from what it wrote. The coordinator is
//! the production code; only time, transport and the clients are simulated: [`client`] and [`world`].
//!
//! `SIMULATION_SEEDS=0..8000` runs other seeds than those of every test run, `SIMULATION_TRACE=1`
//! tells what happens.
//!
//! Held at every step:
//! - a partition belongs to one member at most, as the coordinator has it, and as the clients have
//!   it that the coordinator counts as members: it changes hands only after it was given up;
//! - epochs do not go back, neither the group's nor, while it stays in, a member's;
//! - what was acknowledged as committed survives a restart, and so does the group;
//! - a request is answered at most once.
//!
//! Held when nobody fails any more: every live client is in, every partition is owned, everybody has
//! as much as everybody else where all subscribe to the same, and a newcomer takes from the others
//! only what it gets.

mod client;
mod world;

use thalweg_log::group::Assignor;

use world::World;

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..500 {
        world.chaos();
    }
    while world.live().is_empty() {
        world.start();
    }
    world.settle();
    world.check_settled();
    // One more: the others give up no more than it gets.
    let before: Vec<_> = world.clients.iter().map(|c| c.owned.clone()).collect();
    world.mixed = false;
    world.start();
    world.settle();
    world.check_settled();
    let sticky = world.same && world.config.consumer.assignors == [Assignor::Uniform];
    if sticky
        && world
            .clients
            .iter()
            .all(|c| !c.is_classic() || !c.is_live())
    {
        for (client, before) in world.clients.iter().zip(before) {
            assert!(client.owned.is_subset(&before), "{client:?} had {before:?}");
        }
    }
}

#[test]
fn consumer_groups_survive_chaos() {
    let seeds = match std::env::var("SIMULATION_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("SIMULATION_SEEDS=from..to");
            from.parse().unwrap()..to.parse().unwrap()
        }
        Err(_) => 0..120,
    };
    for seed in seeds {
        assert!(
            std::panic::catch_unwind(|| run(seed)).is_ok(),
            "seed {seed} failed"
        );
    }
}
