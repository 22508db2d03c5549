// One worker of River for `make bench-peers`: jobs that do nothing, and when each was due and started.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

const (
	usage = `usage: river create URL
       river insert URL --count N [--due MS] [--spread MS] [--mode best|default]
       river work URL [--mode best|default] [--record FILE]`

	insertBatch = 5_000 // jobs in one call, as in River's own benchmark
	stopWithin  = 30 * time.Second
)

// Due is a job that does nothing; DueMS is in milliseconds since 1970, 0 where the job is due at once.
type Due struct {
	DueMS float64 `json:"due_ms"`
}

// Kind is the job's name in the database.
func (Due) Kind() string { return "due" }

type start struct{ dueMS, startedMS float64 }

// noop does nothing but remember, if it is asked to: in memory, or the writing would be measured too.
type noop struct {
	river.WorkerDefaults[Due]
	keeps  bool
	mu     sync.Mutex
	starts []start
}

func (w *noop) Work(_ context.Context, job *river.Job[Due]) error {
	if !w.keeps {
		return nil
	}
	now := milliseconds(time.Now())
	w.mu.Lock()
	w.starts = append(w.starts, start{job.Args.DueMS, now})
	w.mu.Unlock()
	return nil
}

func (w *noop) write(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := bufio.NewWriter(file)
	for _, each := range w.starts {
		fmt.Fprintf(lines, "%.3f,%.3f\n", each.dueMS, each.startedMS)
	}
	return errors.Join(lines.Flush(), file.Close())
}

func milliseconds(at time.Time) float64 { return float64(at.UnixMicro()) / 1000 }

// config returns a client's settings: `best` are the shortest waits that River allows and the number of workers of its
// own benchmark; `default` are those of its README.
func config(mode string, workers *river.Workers) *river.Config {
	found := &river.Config{
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}},
		Workers: workers,
	}
	if mode == "best" {
		found.FetchCooldown = river.FetchCooldownMin
		found.FetchPollInterval = river.FetchPollIntervalMin
		found.Queues[river.QueueDefault] = river.QueueConfig{MaxWorkers: 2_000}
	}
	return found
}

func create(ctx context.Context, pool *pgxpool.Pool) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return err
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func insert(ctx context.Context, pool *pgxpool.Pool, asked arguments) error {
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		return err
	}
	for first := 0; first < asked.count; first += insertBatch {
		jobs := batch(first, min(first+insertBatch, asked.count), asked)
		if err := insertMany(ctx, client, asked.mode, jobs); err != nil {
			return err
		}
	}
	return nil
}

func insertMany(ctx context.Context, client *river.Client[pgx.Tx], mode string, jobs []river.InsertManyParams) error {
	if mode == "best" {
		_, err := client.InsertManyFast(ctx, jobs)
		return err
	}
	_, err := client.InsertMany(ctx, jobs)
	return err
}

func batch(first, end int, asked arguments) []river.InsertManyParams {
	jobs := make([]river.InsertManyParams, 0, end-first)
	for i := first; i < end; i++ {
		if asked.due == 0 {
			jobs = append(jobs, river.InsertManyParams{Args: Due{}})
			continue
		}
		// The payload carries what the database can hold, which is microseconds: nothing may look early by rounding.
		at := time.UnixMicro(int64((asked.due + float64(i)*asked.spread/float64(asked.count)) * 1000))
		jobs = append(jobs, river.InsertManyParams{
			Args:       Due{milliseconds(at)},
			InsertOpts: &river.InsertOpts{ScheduledAt: at},
		})
	}
	return jobs
}

func work(ctx context.Context, pool *pgxpool.Pool, asked arguments) error {
	ending, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	worker := &noop{keeps: asked.record != ""}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker)
	client, err := river.NewClient(riverpgxv5.New(pool), config(asked.mode, workers))
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ending.Done()
	limit, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := client.Stop(limit); err != nil {
		return err
	}
	if worker.keeps {
		return worker.write(asked.record)
	}
	return nil
}

type arguments struct {
	verb, url, mode, record string
	count                   int
	due, spread             float64
}

func parse(words []string) (arguments, error) {
	if len(words) < 2 {
		return arguments{}, errors.New(usage)
	}
	asked := arguments{verb: words[0], url: words[1]}
	flags := flag.NewFlagSet(asked.verb, flag.ContinueOnError)
	flags.IntVar(&asked.count, "count", 0, "how many jobs")
	flags.Float64Var(&asked.due, "due", 0, "when the first is due, in milliseconds since 1970; 0: at once")
	flags.Float64Var(&asked.spread, "spread", 0, "over how many milliseconds they are due")
	flags.StringVar(&asked.mode, "mode", "best", "best or default")
	flags.StringVar(&asked.record, "record", "", "the file that due and start of each job are written to")
	if err := flags.Parse(words[2:]); err != nil {
		return asked, err
	}
	if asked.mode != "best" && asked.mode != "default" {
		return asked, fmt.Errorf("--mode is best or default, not %q", asked.mode)
	}
	return asked, nil
}

func run() error {
	asked, err := parse(os.Args[1:])
	if err != nil {
		return err
	}
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, asked.url)
	if err != nil {
		return err
	}
	defer pool.Close()
	switch asked.verb {
	case "create":
		return create(ctx, pool)
	case "insert":
		return insert(ctx, pool, asked)
	case "work":
		return work(ctx, pool, asked)
	}
	return errors.New(usage)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1)
	}
}
