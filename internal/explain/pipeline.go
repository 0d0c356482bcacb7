package explain

// pipelines are Azure DevOps' and GitHub's own words around a build.
func pipelines() []Entry {
	const learnTimeouts = "Microsoft Learn, Azure Pipelines, jobs and their time limits: https://learn.microsoft.com/azure/devops/pipelines/process/phases"
	return []Entry{
		{ID: "devops-job-timeout",
			Line:    []string{`the job running on (agent|runner) .{1,120} (ran longer than|has exceeded) the maximum (execution )?time of (?P<minutes>\d+) minutes`},
			Cause:   "the pipeline ended the job after {minutes} minutes; Azure goes on with what was begun",
			Fix:     "raise timeoutInMinutes (timeout-minutes on GitHub), or let go of the build and wait for it in a later job: ingot build --detach, ingot wait",
			Command: "timeoutInMinutes: 180   # of the job; 0 is no limit on agents of your own", Source: learnTimeouts},
		{ID: "devops-cancelled-image-builder",
			Line:    []string{`the operation was cancell?ed\.?`, `the operation will be cancell?ed`},
			With:    []string{`starting run template|post template call|imagebuilder|image builder`},
			Cause:   "the pipeline's job was ended, after 60 minutes unless it says otherwise; the template goes on running in Azure and stays behind",
			Fix:     "raise timeoutInMinutes of the job; collect the running template's result before starting another",
			Command: "az image builder show --resource-group <group> --name <template> --query lastRunStatus", Source: learnAIB},
		{ID: "devops-variable-literal",
			Line:    []string{`(invalid|not found|cannot|could not|error|malformed|unable).{0,120}\$\((?P<name>[a-z]\w*)\)`, `\$\((?P<name>[a-z]\w*)\): command not found`},
			Cause:   "the pipeline put no value in the place of $({name}): the variable is not defined here, so the text itself went on",
			Fix:     "link the variable group that holds it, and check its name; variables of a stage do not reach another by themselves",
			Command: `az pipelines variable-group list --query "[].{id:id,name:name}" --output table`, Source: "Microsoft Learn, Variable groups: https://learn.microsoft.com/azure/devops/pipelines/library/variable-groups"},
		{ID: "devops-group-unauthorized",
			Line:    []string{`variable group (was )?(not found or|.{0,80}could not be found|.{0,80}is not authorized)`},
			Cause:   "the pipeline names a variable group that does not exist, or that it may not use",
			Fix:     "permit the pipeline on the group (Library, the group, Pipeline permissions)",
			Command: `az pipelines variable-group list --query "[].{id:id,name:name}" --output table`, Source: "Microsoft Learn, Variable groups: https://learn.microsoft.com/azure/devops/pipelines/library/variable-groups"},
		{ID: "devops-connection-unauthorized",
			Line:    []string{`the pipeline is not valid\..{0,200}service connection .{1,120}(could not be found|not been authorized)`, `which could not be found\. the service connection does not exist`},
			Cause:   "the pipeline names a service connection that does not exist, or that it may not use",
			Fix:     "permit the pipeline on the connection (Project settings, Service connections)",
			Command: "az devops service-endpoint list --query \"[].name\" --output tsv", Source: "Microsoft Learn: https://aka.ms/yamlauthz"},
		{ID: "devops-json-only",
			Line:    []string{`hcl2 templates are not currently supported`, `packerbuild@1.{0,200}(\.hcl|parse)`},
			Cause:   "the PackerBuild task takes legacy JSON templates only",
			Fix:     "run packer, or ingot, in a script step instead of the task",
			Command: "ingot build .", Source: "GitHub, microsoft/azure-pipelines-tasks, PackerBuildV1"},
	}
}
