import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Date;
import java.util.HashSet;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.quartz.Job;
import org.quartz.JobBuilder;
import org.quartz.JobDetail;
import org.quartz.JobExecutionContext;
import org.quartz.Scheduler;
import org.quartz.SchedulerException;
import org.quartz.SimpleScheduleBuilder;
import org.quartz.Trigger;
import org.quartz.TriggerBuilder;
import org.quartz.impl.StdSchedulerFactory;

/** Quartz, its JDBC job store clustered: one durable job, a trigger for each start; what has fired is deleted. */
public final class Quartz {
  private static final String TABLES = "/org/quartz/impl/jdbcjobstore/tables_postgres.sql";
  private static final int CHUNK = 200; // Quartz holds its one lock while it stores them: a worker goes on in between
  private static Command command;

  /** What a job does: nothing but being noted. Quartz makes one for each start, so what it needs is static. */
  public static final class Nothing implements Job {
    @Override
    public void execute(JobExecutionContext context) {
      command.started(context.getMergedJobDataMap().getLong("due"));
    }
  }

  public static void main(String[] words) throws Exception {
    command = new Command(words);
    switch (command.verb) {
      case "create" -> command.create(tables());
      case "insert" -> insert();
      case "work" -> work();
      default -> throw new IllegalArgumentException(command.verb);
    }
  }

  private static String tables() throws IOException {
    try (InputStream stream = StdSchedulerFactory.class.getResourceAsStream(TABLES)) {
      return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
    }
  }

  private static void insert() throws SchedulerException {
    JobDetail job = JobBuilder.newJob(Nothing.class).withIdentity("nothing").storeDurably().build();
    Scheduler scheduler = scheduler(); // not started: it only stores
    String run = Long.toString(System.nanoTime(), 36);
    Set<Trigger> chunk = new HashSet<>();
    for (int i = 0; i < command.count(); i++) {
      chunk.add(trigger(job, run + "-" + i, command.due(i)));
      if (chunk.size() == CHUNK || i == command.count() - 1) {
        scheduler.scheduleJobs(Map.of(job, chunk), true);
        chunk.clear();
      }
    }
    scheduler.shutdown();
  }

  private static Trigger trigger(JobDetail job, String name, long due) {
    SimpleScheduleBuilder once = SimpleScheduleBuilder.simpleSchedule();
    if (command.isBest()) {
      once.withMisfireHandlingInstructionIgnoreMisfires(); // or those 60 s late go through a handler of 20 at a time
    }
    return TriggerBuilder.newTrigger()
        .withIdentity(name)
        .forJob(job)
        .usingJobData("due", due)
        .startAt(new Date(due))
        .withSchedule(once)
        .build();
  }

  private static void work() throws Exception {
    Scheduler scheduler = scheduler();
    command.writeHistoryThrough(() -> command.pool(threads()));
    scheduler.start();
    command.workUntilTerminated(() -> stop(scheduler));
  }

  private static void stop(Scheduler scheduler) {
    try {
      scheduler.shutdown(true);
    } catch (SchedulerException e) {
      throw new IllegalStateException(e);
    }
  }

  private static int threads() {
    return command.isBest() ? (int) command.setting("--threads", 20) : 10;
  }

  private static Scheduler scheduler() throws SchedulerException {
    int threads = threads();
    Properties properties = new Properties();
    properties.putAll(
        Map.of(
            "org.quartz.scheduler.instanceName", "bench",
            "org.quartz.scheduler.instanceId", "AUTO",
            "org.quartz.threadPool.class", "org.quartz.simpl.SimpleThreadPool",
            "org.quartz.threadPool.threadCount", Integer.toString(threads),
            "org.quartz.jobStore.class", "org.quartz.impl.jdbcjobstore.JobStoreTX",
            "org.quartz.jobStore.driverDelegateClass", "org.quartz.impl.jdbcjobstore.PostgreSQLDelegate",
            "org.quartz.jobStore.isClustered", "true",
            "org.quartz.jobStore.dataSource", "bench"));
    properties.putAll(
        Map.of(
            "org.quartz.dataSource.bench.provider", "hikaricp",
            "org.quartz.dataSource.bench.driver", "org.postgresql.Driver",
            "org.quartz.dataSource.bench.URL", command.jdbcUrl(),
            "org.quartz.dataSource.bench.user", command.user(),
            "org.quartz.dataSource.bench.password", command.password(),
            "org.quartz.dataSource.bench.maxConnections", Integer.toString(threads + 3)));
    if (command.isBest()) {
      properties.putAll(
          Map.of(
              "org.quartz.scheduler.batchTriggerAcquisitionMaxCount",
                  Integer.toString((int) command.setting("--batch", threads)),
              "org.quartz.jobStore.acquireTriggersWithinLock", "true",
              "org.quartz.scheduler.idleWaitTime", "1000"));
    }
    return new StdSchedulerFactory(properties).getScheduler();
  }
}
