/* tests/model/lease.pml - lease, fence and change of leader, as Spin explores them.
 *
 * Two agents, three watchers, three epochs. What the log says is one number, `log`: 2e is "epoch e
 * is open, for holder[e]", 2e+1 is "epoch e is being fenced". Raft is taken as given: there is one
 * log, each watcher has applied a prefix of it, and whoever leads knows all of it but remembers
 * nothing of what was said to the leader before.
 *
 * Time is counted down in ticks and not up, so the states are finitely many and the runs are not
 * bounded. A lease lasts L ticks of the agent's clock; that clock may be slow and the leader's fast,
 * by one tick in each WINDOW: the bound on rates that DRIFT covers.
 *
 * The claims: never two open gates, and none of an epoch that the log calls fenced. Each BUG_ below breaks one
 * rule of the design (section 6), and a claim with it: ./check.py runs them all. */

#define L 1
#define WINDOW 1 /* at most one in two, and no lease lasts longer than two */
#ifndef EPOCHS
#define EPOCHS 3
#endif
#define OPEN_LAST (2 * (EPOCHS - 1)) /* the log ends with the last epoch open */
#define NOBODY 3

#ifndef RESTARTS /* how many crashes of watchers there are */
#define RESTARTS 0
#endif
#ifndef RATES /* whether clocks differ in rate */
#define RATES 0
#endif
#ifndef LATE /* whether answers are late */
#define LATE 0
#endif

#ifdef BUG_DRIFT /* promises end with the lease: no allowance for rates */
#define DRIFT 0
#else
#define DRIFT RATES
#endif

#ifdef BUG_MAJORITY /* one of three is counted as enough */
#define MAJORITY 1
#else
#define MAJORITY 2
#endif

#ifdef BUG_CAUGHT_UP /* a restarted watcher promises by what it has replayed so far */
#define CAUGHT_UP true
#else
#define CAUGHT_UP (behind[w] == 0)
#endif

#define FREE (promise[w] == 0 || promised[w] == n || (n > 0 && promised[w] == n - 1 && reported[n - 1]))

#define STALE (answer_of[a] != epoch[a])

#ifdef BUG_FROM_RECEIPT /* the lease is counted from the answer and not from the heartbeat */
#define LENGTH(i) L
#define OLDEST(i) skip
#else
#define OLDEST(i) no_answer(i) /* it gives nothing any more */
#define LENGTH(i) (L + 1 - answer[i])
#endif

#ifdef BUG_NEVER_AGAIN /* an epoch that was given up is taken once more */
#define MAY_TAKE true
#else
#define MAY_TAKE (ended[a] <= n)
#endif

#ifdef BUG_EARLY_REPORT /* the end is reported before the gate is closed */
#define EARLY_REPORT true
#else
#define EARLY_REPORT false
#endif

#ifdef BUG_REMAINDER /* a watcher says that it has stopped and not how much is left */
#define LEFT 0
#else
#define LEFT promise[w]
#endif

#ifdef BUG_LEADER /* a new leader finds a fence under way and takes it for done */
#define MEMORY 1
#else
#define MEMORY 0
#endif

#ifdef BUG_FORGET /* a restarted watcher does not wait for what it may have promised */
#define BLIND 0
#else
#define BLIND FULL
#endif

#define FULL (L + DRIFT)

byte log;            /* see above */
byte holder[3];      /* agent of each epoch */
bool reported[3];    /* the epoch ended by its own agent's report */

byte applied[3];     /* prefix of the log, of each watcher */
byte behind[3];      /* a restarted watcher promises only from here on; 0: it is there */
byte promise[3];     /* ticks until its last promise has surely ended */
byte promised[3];    /* to which epoch; NOBODY: not remembered */

byte stopped[3];     /* what each told the leader it had left: 1 + ticks; 0: not told */
byte quick;          /* ticks until the leader's clock may gain one again */

byte epoch[2];       /* what an agent holds; NOBODY: nothing */
byte ended[2];       /* 1 + the last epoch it has given up, durable */
byte told[2];        /* 1 + the last one it has reported as closed */
byte slow[2];        /* ticks until its clock may lose one again */
byte granted[6];     /* ticks left, by agent and watcher: what the gate is set by */
byte answer[2];      /* a promise that is late: 1 + its age in ticks; 0: none */
byte answer_of[2];   /* the epoch it is for, and */
byte answer_by[2];   /* the watcher it is from */

byte restarts;
byte a, w, s, n, n0; /* scratch */
bool hold;

#define AT(agent, watcher) (3 * (agent) + (watcher))
#define HAS(agent, i) (granted[AT(agent, i)] > 0)
#define COUNT(agent) (HAS(agent, 0) + HAS(agent, 1) + HAS(agent, 2))
#define IS_OPEN(agent) (COUNT(agent) >= MAJORITY)
#define OVER(i) (stopped[i] == 1)
#define STOPS (OVER(0) + OVER(1) + OVER(2))

inline some_agent() { if :: a = 0 :: a = 1 fi }
inline some_watcher() { if :: w = 0 :: w = 1 :: w = 2 fi }
inline count_down(what) { if :: what > 0 -> what-- :: else fi }

inline forget(agent)
{
    granted[AT(agent, 0)] = 0; granted[AT(agent, 1)] = 0; granted[AT(agent, 2)] = 0
}

/* The log moves on: words about an earlier state are dropped by whoever gets them. */
inline commit(position)
{
    log = position;
    stopped[0] = 0; stopped[1] = 0; stopped[2] = 0
}

/* Promises of any watcher, a majority of which makes the lease: `s` is one, `n` its length. */
inline grant(length)
{
    n = length;
    if :: n > granted[s] -> granted[s] = n :: else fi
}

/* An agent sends a heartbeat and a watcher answers it. A heartbeat that takes long only makes the
 * watcher's promise end later, so it arrives at once. The answer does too, or is late or lost; of
 * those that are late one in each agent's mail is enough. */
inline heartbeat()
{
    some_agent(); some_watcher();
    s = AT(a, w); n = epoch[a];
    if
    :: n != NOBODY && ended[a] <= n && applied[w] == 2 * n && holder[n] == a && CAUGHT_UP && FREE ->
        promise[w] = FULL; promised[w] = n;
        if
        :: grant(L)
        :: LATE && answer[a] == 0 -> answer[a] = 1; answer_of[a] = n; answer_by[a] = w
        :: skip
        fi
    :: else
    fi
}

inline no_answer(agent)
{
    answer[agent] = 0; answer_of[agent] = 0; answer_by[agent] = 0
}

inline answered()
{
    some_agent();
    s = AT(a, answer_by[a]);
    if
    :: answer[a] > 0 ->
        if
        :: epoch[a] == NOBODY || ended[a] > epoch[a] || STALE
        :: else -> grant(LENGTH(a))
        fi;
        no_answer(a)
    :: else
    fi
}

/* An agent hears that an epoch is its own: late, twice, whenever. */
inline take_epoch()
{
    some_agent();
    if :: n = 0 :: n = 1 :: n = 2 fi;
    if
    :: 2 * n <= log && holder[n] == a && (epoch[a] == NOBODY || n > epoch[a]) && MAY_TAKE ->
        epoch[a] = n; forget(a); ended[a] = (ended[a] > n -> n : ended[a])
    :: else
    fi
}

/* Gives up: first durable, then closed, then told. Each may be the last thing it does for long. */
inline give_up()
{
    some_agent();
    if
    :: epoch[a] != NOBODY && ended[a] <= epoch[a] ->
        ended[a] = epoch[a] + 1;
        if :: EARLY_REPORT -> told[a] = ended[a] :: else fi
    :: epoch[a] != NOBODY && ended[a] > epoch[a] ->
        forget(a); told[a] = ended[a]; epoch[a] = NOBODY
    :: else
    fi
}

inline apply()
{
    some_watcher();
    if
    :: applied[w] < log ->
        applied[w]++;
        if :: applied[w] == behind[w] -> behind[w] = 0 :: else fi
    :: else
    fi
}

/* A watcher tells the leader that it has stopped, and how much is left. The leader counts from its
 * receipt and keeps the earliest end; a word that is late only ends later. */
inline say_stopped()
{
    some_watcher();
    if
    :: log % 2 == 1 && applied[w] == log ->
        n = 1 + LEFT + (LEFT > 0 -> DRIFT : 0);
        if :: stopped[w] == 0 || n < stopped[w] -> stopped[w] = n :: else fi
    :: else
    fi
}

inline new_leader()
{
    stopped[0] = MEMORY; stopped[1] = MEMORY; stopped[2] = MEMORY
}

inline begin()
{
    if :: log % 2 == 0 && log < OPEN_LAST -> commit(log + 1) :: else fi
}

/* Fenced by expiry or by the holder's own report; promoted, and open for whoever was chosen. */
inline fenced()
{
    n = log / 2;
    if
    :: log % 2 == 1 && STOPS >= MAJORITY ->
        assert(!IS_OPEN(holder[n]));
        some_agent(); holder[n + 1] = a; commit(log + 1)
    :: log % 2 == 1 && told[holder[n]] == n + 1 ->
        assert(!IS_OPEN(holder[n]));
        reported[n] = true; some_agent(); holder[n + 1] = a; commit(log + 1)
    :: else
    fi
}

/* A crash of a watcher: what was promised is forgotten, the log is read again from its start. */
inline restart()
{
    some_watcher();
    if
    :: restarts < RESTARTS ->
        restarts++;
        applied[w] = 0; behind[w] = log;
        promise[w] = BLIND; promised[w] = NOBODY
    :: else
    fi
}

inline run_out(i)
{
    count_down(promise[i]);
    if :: promise[i] == 0 -> promised[i] = NOBODY :: else fi
}

inline grow_old(i)
{
    if
    :: answer[i] == 0
    :: answer[i] > 0 && answer[i] < L -> answer[i]++
    :: answer[i] == L -> OLDEST(i)
    fi
}

inline host_tick(agent)
{
    if
    :: RATES && slow[agent] == 0 -> slow[agent] = WINDOW /* its clock loses this tick */
    :: hold = true
    fi;
    if
    :: hold ->
        count_down(granted[AT(agent, 0)]); count_down(granted[AT(agent, 1)]);
        count_down(granted[AT(agent, 2)]);
        grow_old(agent);
        count_down(slow[agent])
    :: else
    fi;
    hold = false
}

inline leader_tick()
{
    if
    :: RATES && quick == 0 && (stopped[0] > 1 || stopped[1] > 1 || stopped[2] > 1) -> n0 = 2; quick = WINDOW
    :: n0 = 1
    fi;
    do
    :: n0 == 0 -> break
    :: n0 > 0 -> n0--;
        if :: stopped[0] > 1 -> stopped[0]-- :: else fi;
        if :: stopped[1] > 1 -> stopped[1]-- :: else fi;
        if :: stopped[2] > 1 -> stopped[2]-- :: else fi
    od;
    count_down(quick)
}

inline tick()
{
    host_tick(0); host_tick(1);
    run_out(0); run_out(1); run_out(2);
    leader_tick()
}

init
{
    epoch[1] = NOBODY;
    promised[0] = NOBODY; promised[1] = NOBODY; promised[2] = NOBODY;
    do
    :: atomic {
        if
        :: heartbeat()
        :: answered()
        :: take_epoch()
        :: give_up()
        :: apply()
        :: say_stopped()
        :: new_leader()
        :: begin()
        :: fenced()
        :: restart()
        :: tick()
        fi;
        a = 0; w = 0; s = 0; n = 0;
        assert(!(IS_OPEN(0) && IS_OPEN(1)))
      }
    od
}
