/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Lines of each verb, alone and as drivers send them one after another. Of the
 * target's chain the image is drive0 and #layer0, its base #layer1. Quotes are
 * single ones here, and double ones in what is written.
 */
#include "tests/fuzz/control_seeds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERB(name, arguments) "{'execute':'" name "','arguments':{" arguments "}}\n"
#define PLAIN(name)           "{'execute':'" name "'}\n"
#define ASK_ALL                   \
	PLAIN("query-jobs")       \
	PLAIN("query-block-jobs") \
	PLAIN("query-block")      \
	PLAIN("x-query-job")      \
	PLAIN("query-named-block-nodes") VERB("query-blockstats", "'query-nodes':true")
#define SYNC(node, name)               \
	VERB("blockdev-snapshot-sync", \
	     "'node-name':'" node "','snapshot-file':'/" name "','snapshot-node-name':'" name "'")
#define ACTION(type, data) "{'type':'" type "','data':{" data "}}"
#define JOB(name)          VERB(name, "'id':'j'")
#define BLOCK_JOB(name)    VERB(name, "'device':'j'")
/* Each line lets the engine go on by one step. */
#define STEPS "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"

static const char *const lines[] = {
	PLAIN("qmp_capabilities") PLAIN("query-block-jobs"),
	VERB("qmp_capabilities", "'enable':['oob']"),
	PLAIN("query-commands") PLAIN("query-version") "nonsense\n[]\n{}\n{'execute':1}\n"
						       "'\\ud800'\n",
	VERB("block-stream",
	     "'device':'drive0','speed':1000") "{'execute':'query-jobs','id':[1,'a']}\n",
	VERB("block-stream", "'device':'drive0','bottom':'#layer0'"),
	VERB("block-stream", "'job-id':'j','device':'drive0','auto-finalize':false,"
			     "'auto-dismiss':false,'on-error':'stop'") JOB("job-pause")
		ASK_ALL JOB("job-resume") STEPS STEPS JOB("job-finalize") STEPS JOB("job-dismiss")
			ASK_ALL,
	VERB("block-job-set-speed", "'device':'drive0','speed':0")
		VERB("block-job-cancel", "'device':'drive0','force':true"),
	VERB("block-stream", "'job-id':'j','device':'drive0','base':'/b1','backing-file':'b1'")
		BLOCK_JOB("block-job-pause") BLOCK_JOB("block-job-resume")
			BLOCK_JOB("block-job-complete") JOB("block-job-finalize")
				JOB("block-job-dismiss"),
	VERB("block-stream", "'job-id':'j','device':'drive0','speed':65536")
		VERB("x-job-set-rates", "'id':'j','guest-p99-us':500,'iops':100,'min-rate':1,"
					"'within-us':1000000") JOB("job-cancel") STEPS ASK_ALL,
	/* snapshots */
	VERB("blockdev-snapshot-sync", "'device':'drive0','snapshot-file':'/s1'") ASK_ALL,
	VERB("blockdev-snapshot-sync", "'device':'drive0','snapshot-file':'/s1','format':'qed',"
				       "'mode':'absolute-paths'")
		VERB("blockdev-snapshot-sync", "'node-name':'#layer0','snapshot-file':'/spare',"
					       "'snapshot-node-name':'x','mode':'existing'"),
	SYNC("#layer0", "s1") SYNC("s1", "s2") SYNC("#layer0", "s3") ASK_ALL,
	VERB("blockdev-add", "'driver':'qcow2','node-name':'n','file':{'driver':'file',"
			     "'filename':'/spare','node-name':'f','locking':'auto',"
			     "'aio':'threads'},'backing':null,'cache':{'direct':true,"
			     "'no-flush':false},'discard':'unmap','detect-zeroes':'off'")
		ASK_ALL VERB("blockdev-snapshot", "'node':'drive0','overlay':'n'")
			VERB("blockdev-del", "'node-name':'n'"),
	VERB("blockdev-add", "'driver':'file','node-name':'f','filename':'/spare',"
			     "'read-only':true,'force-share':true")
		VERB("blockdev-add", "'driver':'qcow2','node-name':'n','file':'f','read-only':true,"
				     "'auto-read-only':true,'l2-cache-size':1048576,"
				     "'cache-clean-interval':0")
			VERB("query-named-block-nodes", "'flat':true")
				VERB("blockdev-del", "'node-name':'f'")
					VERB("blockdev-del", "'node-name':'n'"),
	VERB("transaction",
	     "'actions':[" ACTION("blockdev-snapshot-sync",
				  "'device':'drive0','snapshot-file':'/"
				  "s1'") "," ACTION("abort",
						    "") "],'properties':{'completion-mode':"
							"'grouped'}"),
	VERB("transaction",
	     "'actions':[" ACTION(
		     "blockdev-snapshot-sync",
		     "'node-name':'#layer0','snapshot-file':'/s1',"
		     "'snapshot-node-name':'s1'") "],'properties':{'completion-mode':'individual'}")
		VERB("transaction",
		     "'actions':[" ACTION("blockdev-snapshot",
					  "'node':'s1','overlay':'n'") "," ACTION("abort", "") "]")
			ASK_ALL,
	/* commits */
	VERB("block-commit", "'device':'drive0','base-node':'#layer1','filter-node-name':'f'")
		VERB("job-complete", "'id':'drive0'"),
	SYNC("#layer0", "s1") VERB("block-commit", "'job-id':'j','device':'s1','base-node':"
						   "'#layer0','speed':1048576,'on-error':"
						   "'report'")
		STEPS STEPS ASK_ALL JOB("job-complete") STEPS ASK_ALL,
	SYNC("#layer0", "s1") VERB("block-commit", "'job-id':'j','device':'s1','base-node':"
						   "'#layer0'") STEPS STEPS JOB("job-pause")
		JOB("job-resume") JOB("job-cancel") STEPS ASK_ALL,
	SYNC("#layer0", "s1") SYNC("s1", "s2") SYNC("s2", "s3")
		VERB("block-commit", "'job-id':'j','device':'s3','top-node':'s2','base-node':'s1',"
				     "'backing-file':'/s1','auto-finalize':false")
			STEPS STEPS JOB("job-finalize") STEPS VERB(
				"block-stream", "'job-id':'j','device':'s1','base-node':'#layer1'")
				STEPS STEPS ASK_ALL,
	SYNC("#layer0", "s1") VERB("block-commit", "'job-id':'j','device':'s1','top':'/s1',"
						   "'base':'/top'") SYNC("s1", "s2")
		VERB("blockdev-del", "'node-name':'s1'") VERB("block_resize", "'size':1,"
									      "'device':'drive0'"),
	/* the rest */
	VERB("getfd", "'fdname':'/s1'") VERB("closefd", "'fdname':'/s1'")
		VERB("getfd", "'fdname':''") PLAIN("getfd"),
	VERB("block_resize", "'device':'drive0','size':131072")
		VERB("block_resize", "'node-name':'#layer1','size':131072"),
	VERB("x-set-host-budget", "'rate':1000") PLAIN("x-query-servers"),
};

void control_seeds(control_seed *put)
{
	char name[32], text[8192];

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t len = strlen(lines[i]);

		if (len > sizeof(text))
			abort();
		for (size_t at = 0; at < len; at++)
			text[at] = lines[i][at] == '\'' ? '"' : lines[i][at];
		snprintf(name, sizeof(name), "lines%u", i);
		put("control", name, i % 4 == 3 ? '3' : '1', text, len);
		if (strstr(lines[i], "getfd"))
			put("control", name, '3', text, len);
	}
}
